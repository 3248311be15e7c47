"""What only this instance knows: passwords and signing secrets, made once and kept in a private file."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import bcrypt

from slipway import names, shell, wishes
from slipway.errors import unknown
from slipway.settings import Settings

# Reads the GitOps repositories for Argo CD; no person, and in no policy.
READER = "argocd"

# Whom a role's commits are by, and whose key signs them, as an address: Git knows people by nothing else.
_ADDRESS = "{role}@slipway.localhost"

_PASSWORD_BYTES = 24
_SALT_BYTES = 8
# Argo CD's own; the passwords are random and long, more rounds would only make logging in slower.
_BCRYPT_ROUNDS = 10


@dataclass(frozen=True)
class Secrets:
    """What only this instance knows; made once and kept, so that nothing that worked stops working.

    Attributes:
        passwords: The password of each user.
        webhook: Signs what the Git server tells Argo CD.
        cache: The password of Argo CD's cache.
        session: Signs the sessions of Argo CD.
        bcrypt: The passwords as Argo CD keeps them.
        htpasswd: The passwords as nginx keeps them.
        stores: The passwords of the stores, by "ENVIRONMENT/STORE/KEY".
        signing: The private SSH key of each role, which signs the role's commits in the GitOps repositories.
        signers: The public key that belongs to it.
        made: When the passwords were made, as Argo CD wants to know it.
        only: The one role whose secrets these are; "" for everybody's.
    """

    passwords: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    webhook: str = field(default="", repr=False)
    cache: str = field(default="", repr=False)
    session: str = field(default="", repr=False)
    bcrypt: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    htpasswd: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    stores: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    signing: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    signers: Mapping[str, str] = field(default_factory=dict[str, str])
    made: str = ""
    only: str = ""

    @property
    def htpasswd_file(self) -> str:
        """Every user and password as lines that nginx reads."""
        return "".join(f"{user}:{line}\n" for user, line in sorted(self.htpasswd.items()))

    @property
    def signers_file(self) -> str:
        """Whose commits which key signs, as lines that Git reads."""
        used = f"git,{wishes.NAMESPACE}"
        return "".join(f'{address(role)} namespaces="{used}" {key}\n' for role, key in sorted(self.signers.items()))


def address(role: str) -> str:
    """The address that a role's commits bear."""
    return _ADDRESS.format(role=role)


def file(settings: Settings) -> Path:
    """Where an instance's secrets are kept."""
    return settings.folder / "secrets" / "secrets.json"


def keep(settings: Settings) -> Secrets:
    """The instance's secrets; what is missing is made, what is there never changes. Only the file's owner can read it."""
    kept = file(settings)
    had = Secrets(**json.loads(kept.read_text())) if kept.is_file() else Secrets()
    if had.only:  # what was handed to one role is all that there is for it to know
        return had
    users = (*settings.roles, READER)
    passwords = {user: had.passwords.get(user) or secrets.token_urlsafe(_PASSWORD_BYTES) for user in users}
    uses = [
        f"{name}/{store.name}/{key}"
        for name in (*settings.environments, names.LOCAL)
        for store in settings.stores.values()
        for key in store.passwords
    ]
    keys = {
        role: (had.signing[role], had.signers[role]) if {role} <= had.signing.keys() & had.signers.keys() else _key_pair(role)
        for role in settings.roles
    }
    now = Secrets(
        passwords=passwords,
        webhook=had.webhook or secrets.token_urlsafe(_PASSWORD_BYTES),
        cache=had.cache or secrets.token_urlsafe(_PASSWORD_BYTES),
        session=had.session or secrets.token_urlsafe(2 * _PASSWORD_BYTES),
        bcrypt={user: had.bcrypt.get(user) or _bcrypt(password) for user, password in passwords.items()},
        htpasswd={user: had.htpasswd.get(user) or salted_sha(password) for user, password in passwords.items()},
        stores={use: had.stores.get(use) or secrets.token_urlsafe(_PASSWORD_BYTES) for use in uses},
        signing={role: private for role, (private, _) in keys.items()},
        signers={role: public for role, (_, public) in keys.items()},
        made=had.made or datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
    if now != had:
        write_private(kept, json.dumps(asdict(now), indent=2) + "\n")
    return now


def of(secrets: Secrets, role: str) -> Secrets:
    """What one role may know of an instance's secrets: its own, and the public keys of all."""
    own = {role: secrets.passwords[role]}
    return Secrets(passwords=own, signing={role: secrets.signing[role]}, signers=secrets.signers, made=secrets.made, only=role)


def signing_key(settings: Settings, role: str) -> Path:
    """The file with the private key that signs a role's commits; only its owner can read it.

    Raises:
        UsageError: There is no such role.
    """
    if role not in settings.roles:
        raise unknown("role", role, settings.roles)
    at = file(settings).with_name(f"signing-{role}")
    key = keep(settings).signing[role]
    if not at.is_file() or at.read_text() != key:
        write_private(at, key)
    return at


def _key_pair(role: str) -> tuple[str, str]:
    with tempfile.TemporaryDirectory(prefix="slipway-key-") as folder:
        made = Path(folder, "key")
        hint = "Commits are signed with SSH keys: install ssh-keygen (Debian: openssh-client)."
        shell.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", address(role), "-f", made], hint=hint, timeout=30.0)
        return made.read_text(), " ".join(made.with_suffix(".pub").read_text().split()[:2])


def _bcrypt(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(_BCRYPT_ROUNDS)).decode()


def salted_sha(password: str) -> str:
    """A password in the one form that nginx reads on every system: the random passwords here need no slow hash."""
    salt = secrets.token_bytes(_SALT_BYTES)
    digest = hashlib.sha1(password.encode() + salt, usedforsecurity=False).digest()
    return "{SSHA}" + base64.b64encode(digest + salt).decode()


def write_private(at: Path, content: str) -> None:
    """Make a file hold this content, all at once, for its owner's eyes only."""
    at.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = at.with_name(f".{at.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as sink:
        sink.write(content)
    new.replace(at)
