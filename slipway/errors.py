"""What can go wrong, as a tree.

SlipwayError                 everything a user can act on; anything else is a bug and may be a traceback
├── UsageError               the request itself cannot be carried out: wrong name, wrong combination
├── ToolMissing              a program or an engine that must be there is not
├── CommandFailed            a program ran and failed; says what ran, what it printed
├── WaitTimeout              a deadline passed; says what was waited for and what was last seen
├── WaitFailed               what was waited for can no longer happen
├── PinMismatch              something fetched is not what the pins say it is
└── PhaseFailed              a phase of a longer run failed; says where the evidence is kept

Every message ends with what to do next.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path


class SlipwayError(Exception):
    """An error whose message is meant for the user; the command exits with `exit_code`."""

    exit_code = 1


class UsageError(SlipwayError):
    """The request cannot be carried out as it was made."""

    exit_code = 2


class ToolMissing(SlipwayError):
    """A program or an engine that must be there is not."""


class PinMismatch(SlipwayError):
    """Something that was fetched is not what the pins say it is."""


class WaitTimeout(SlipwayError):
    """A deadline passed before what was waited for came true."""


class WaitFailed(SlipwayError):
    """What was waited for can no longer come true."""


class CommandFailed(SlipwayError):
    """A program ran and failed.

    The message holds a command line that can be pasted, and the last lines it printed.
    """

    def __init__(self, argv: Sequence[str], code: int, output: str, *, hint: str = "") -> None:
        self.argv, self.code, self.output = tuple(argv), code, output
        tail = "\n".join(f"    {line}" for line in output.strip().splitlines()[-15:])
        said = f"exit code {code}" if code >= 0 else f"ended by signal {-code}"
        parts = [f"{said} from: {shlex.join(argv)}", tail, hint]
        super().__init__("\n".join(part for part in parts if part))


class PhaseFailed(SlipwayError):
    """A named phase failed; its evidence is kept in a folder."""

    def __init__(self, phase: str, cause: BaseException, *, bundle: Path | None = None, hint: str = "") -> None:
        self.phase, self.cause, self.bundle = phase, cause, bundle
        parts = [f"{phase}: {cause}", f"Evidence: {bundle}" if bundle else "", hint]
        super().__init__("\n".join(part for part in parts if part))


def unknown(kind: str, name: str, valid: Iterable[str]) -> UsageError:
    """An error for a name that is not one of the valid ones, which it lists."""
    listed = ", ".join(sorted(valid)) or "(none yet)"
    return UsageError(f"there is no {kind} {name!r}; valid: {listed}")
