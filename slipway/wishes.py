"""A wish: that a commit of a branch be brought to an environment, in words that only whoever wishes it can have signed.

The Git server asks it too: it needs the standard library and ssh-keygen alone.
"""

from __future__ import annotations

import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from slipway import shell

# What keys that sign wishes are good for, beside commits.
NAMESPACE = "slipway"

_WISH = re.compile(r"(?P<commit>[0-9a-f]{40}) (?P<time>[0-9]{1,12}) (?P<signature>[A-Za-z0-9+/=]{1,4000})")
_ARMOUR = ("-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----")
_LINE = 70

_TIMEOUT = 30.0


@dataclass(frozen=True)
class Wish:
    """A wish as it is handed on.

    Attributes:
        commit: The commit that is wanted.
        time: When it was wished, in seconds since 1970.
        signature: The signature, in one line.
    """

    commit: str
    time: int
    signature: str

    def __str__(self) -> str:
        """As it stands in a trailer."""
        return f"{self.commit} {self.time} {self.signature}"


def sign(key: Path, environment: str, branch: str, commit: str) -> str:
    """Somebody's wish, made now.

    Args:
        key: The private key of whoever wishes it.
        environment: Where the commit shall go.
        branch: The branch that it is on.
        commit: The commit.
    """
    now = int(time.time())
    words = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", NAMESPACE]
    signed = shell.run(words, stdin=_text(environment, branch, commit, now), timeout=_TIMEOUT).stdout
    return str(Wish(commit, now, "".join(line for line in signed.split("\n") if line not in _ARMOUR)))


def read(text: str) -> Wish | None:
    """The wish that a text is; None when it is none."""
    found = _WISH.fullmatch(text)
    return Wish(found["commit"], int(found["time"]), found["signature"]) if found else None


def signed(wish: Wish, environment: str, branch: str, *, signers: Path, by: str) -> bool:
    """Whether somebody signed exactly this wish.

    Args:
        wish: The wish.
        environment: Where the commit shall go.
        branch: The branch that it is on.
        signers: The file that says what which key signs.
        by: The address of whoever is said to have signed it.
    """
    lines = [wish.signature[at : at + _LINE] for at in range(0, len(wish.signature), _LINE)]
    with tempfile.TemporaryDirectory(prefix="slipway-wish-") as folder:
        place = Path(folder, "signature")
        place.write_text("\n".join([_ARMOUR[0], *lines, _ARMOUR[1], ""]))
        words = ["ssh-keygen", "-q", "-Y", "verify", "-f", str(signers), "-I", by, "-n", NAMESPACE, "-s", str(place)]
        text = _text(environment, branch, wish.commit, wish.time)
        return shell.run(words, stdin=text, check=False, timeout=_TIMEOUT).code == 0


def _text(environment: str, branch: str, commit: str, when: int) -> str:
    return f"environment: {environment}\nbranch: {branch}\ncommit: {commit}\ntime: {when}\n"
