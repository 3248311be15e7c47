"""Python environments that hold what a service needs, apart from the one that Slipway runs in."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import sys
from pathlib import Path

from slipway import shell
from slipway.settings import ROOT

SERVICES = ROOT / "services"
TEST_REQUIREMENTS = SERVICES / "test-requirements.txt"


def python(*services: str) -> Path:
    """The interpreter of an environment with the services' locked requirements and those of tests; made at its first use."""
    locks = (*(SERVICES / service / "requirements.txt" for service in services), TEST_REQUIREMENTS)
    key = hashlib.sha256(sys.version.encode() + b"".join(lock.read_bytes() for lock in locks)).hexdigest()[:16]
    folder = ROOT / "build" / "venvs" / key
    interpreter, made = folder / "bin" / "python", folder / "made"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.is_file():
            shutil.rmtree(folder, ignore_errors=True)
            shell.run([sys.executable, "-m", "venv", folder])
            wanted = [word for lock in locks for word in ("-r", lock)]
            shell.run(
                [interpreter, "-m", "pip", "install", "--quiet", "--require-hashes", "--only-binary=:all:", *wanted], timeout=600
            )
            made.touch()
    return interpreter
