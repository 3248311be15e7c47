"""`ephemeral`: a fresh instance for one command, always removed afterwards."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence

from slipway import down, logs, shell, up
from slipway.errors import UsageError
from slipway.progress import Progress
from slipway.settings import Settings, load


def ephemeral(argv: Sequence[str], *, source: str, profile: str | None, progress: Progress) -> int:
    """The exit code of a command that ran with an instance of its own.

    The command finds KUBECONFIG, SLIPWAY_INSTANCE and SLIPWAY_URLS (a JSON object) in its environment.

    Args:
        argv: The command.
        source: Where images come from.
        profile: What the instance holds.
        progress: Where the phases are shown.

    Raises:
        UsageError: There is no command.
        SlipwayError: The instance could not be made; it is removed all the same.
    """
    if not argv:
        raise UsageError("say what to run: ./invoke ephemeral -- COMMAND [ARGUMENT...]")
    settings = load(f"ephemeral-{secrets.token_hex(3)}")
    progress.note(f"instance {settings.instance} is made for {argv[0]}, and removed afterwards")
    try:
        made = up.up(settings, source=source, profile=profile, progress=progress)
        env = {**logs.exports(settings), "SLIPWAY_URLS": json.dumps(dict(made.urls))}
        progress.note(f"running {argv[0]} with instance {settings.instance}")
        return shell.interactive(argv, env=env)
    finally:
        _remove(settings, progress)


def _remove(settings: Settings, progress: Progress) -> None:
    try:
        with progress.showing():
            down.down(settings, purge=False, progress=progress)
    except BaseException:
        progress.note(f"something of {settings.instance} may be left: `{settings.command('down')}` removes it")
        raise
