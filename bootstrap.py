"""Makes .venv hold exactly what a lock file says; needs nothing but Python's own library.

`./invoke` runs it when the lock is not what was installed last, or another Python installed it. Two at once wait for each
other; one that was interrupted is taken up by the next.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"

# The lock of everything; it holds all that the lock of the runtime holds.
EVERYTHING = "requirements-dev.txt"
RUNTIME = "requirements.txt"

# What every new environment has, whatever the lock.
GIVEN = {"pip", "setuptools"}


def installed(lock: str) -> bool:
    """Whether the environment holds what that lock file says."""
    stamp = VENV / lock
    return stamp.is_file() and stamp.read_bytes() == (ROOT / lock).read_bytes() and _usable()


def install(lock: str) -> None:
    """Return when the environment holds what that lock file says.

    Raises:
        subprocess.CalledProcessError: pip failed; it has said why.
    """
    if lock == RUNTIME and (VENV / EVERYTHING).exists():
        lock = EVERYTHING  # whoever ran the tests here keeps what they need
    if installed(lock):
        return
    with _alone():
        if installed(lock):
            return
        started = time.monotonic()
        _say(f"Installing {lock} into {VENV}")
        if not _usable():
            venv.create(VENV, clear=True, with_pip=True, symlinks=True)
        for stamp in (RUNTIME, EVERYTHING):
            (VENV / stamp).unlink(missing_ok=True)
        _pip("install", "--no-compile", "--require-hashes", "--no-deps", "--requirement", str(ROOT / lock))
        _remove_what_no_lock_names(lock)
        _compile()
        for stamp in (RUNTIME, lock):
            shutil.copyfile(ROOT / stamp, VENV / f"{stamp}.new")
            (VENV / f"{stamp}.new").replace(VENV / stamp)
        _say(f"Installed in {time.monotonic() - started:.0f} s")


def _usable() -> bool:
    """Whether there is an environment to go on with, not the remains of one, nor one that another Python made."""
    if not PYTHON.exists():
        return False
    test = "import pip, sys; sys.exit(sys.version_info < (3, 11))"
    return subprocess.run([PYTHON, "-c", test], capture_output=True, check=False).returncode == 0


def _remove_what_no_lock_names(lock: str) -> None:
    listed = subprocess.run(
        [PYTHON, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    wanted = {_plain(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", (ROOT / lock).read_text(), re.MULTILINE)}
    extra = [name for name in (_plain(line.split("==")[0]) for line in listed) if name not in wanted | GIVEN]
    if extra:
        _pip("uninstall", "--yes", *extra)


def _compile() -> None:
    # pip would compile on one core; and where Python may not write bytecode, every command would pay for it again.
    subprocess.run([PYTHON, "-m", "compileall", "-q", "-j", "0", VENV / "lib"], stdout=subprocess.DEVNULL, check=False)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _pip(*words: str) -> None:
    argv = [PYTHON, "-m", "pip", "--disable-pip-version-check", "--quiet", "--no-input", *words]
    # pip's words go to standard error: standard output belongs to the task.
    subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=True)


@contextmanager
def _alone() -> Generator[None]:
    """Hold the checkout's lock; the kernel lets it go when this process ends, however it ends."""
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("Another ./invoke is installing; waiting for it")
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def main(argv: list[str]) -> int:
    """The exit code for a command line that names one lock file."""
    try:
        install(argv[0])
    except subprocess.CalledProcessError as error:
        _say(f"error: the environment could not be made (exit code {error.returncode}); see above. Run the same command again.")
        return 1
    except KeyboardInterrupt:
        _say("Interrupted; the next ./invoke goes on from here.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
