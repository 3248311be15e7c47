"""Gather Python and what it needs out of a Debian into a folder: what is not named here stays behind.

Runs in the image that it takes from, with that image's own Python: Debian's in /usr, or upstream's in /usr/local.
"""

from __future__ import annotations

import compileall
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from py_compile import PycInvalidationMode

DPKG = Path("/var/lib/dpkg")

# Packages taken as they are; those of the libraries that Python's own files load come along. Wheels may take the C++
# library for granted.
PACKAGES = re.compile(
    r"base-files|ca-certificates|libc6|libgcc-s1|libstdc\+\+6|media-types|netbase|tzdata"
    r"|(lib)?python3(\.\d+)?(-minimal|-stdlib)?"
)

# Files that no package owns, and of the command line tool openssl what its library reads.
BESIDE = (
    "/etc/group",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/usr/bin/python",
    "/usr/lib/ssl/cert.pem",
    "/usr/lib/ssl/certs",
    "/usr/lib/ssl/openssl.cnf",
    "/usr/local/bin",
    "/usr/local/lib",
)

# Programs other than Python, what installs packages, and what only a programmer reads.
LEFT_OUT = (
    "/etc/cron*",
    "/etc/kernel*",
    "/etc/update-motd.d*",
    "/run/lock",
    "/usr/bin/[!p]*",
    "/usr/bin/py[!t]*",
    "/usr/sbin/?*",
    "/usr/local/bin/[!p]*",
    "/usr/local/bin/p[!y]*",
    "/usr/local/bin/py[!t]*",
    "/usr/local/bin/python*-config",
    "/usr/local/lib/pkgconfig*",
    "/usr/local/lib/python3*/config-*",
    "/usr/local/lib/python3*/ensurepip*",
    "/usr/local/lib/python3*/idlelib*",
    "/usr/local/lib/python3*/site-packages/?*",
    "/usr/local/lib/python3*/test*",
    "/usr/local/lib/python3*/tkinter*",
    "/usr/local/lib/python3*/turtledemo*",
    "/usr/share/base-files/*",
    "/usr/share/info*",
    "/usr/share/lintian*",
    "/usr/share/locale*",
    "/usr/share/man*",
    "/usr/share/python3*",
    "/var/backups",
    "/var/cache",
    "/var/lock",
    "/var/tmp",  # noqa: S108
    "*/__pycache__*",
)
LICENCES = "/usr/share/doc/*/copyright"


def owned() -> dict[str, list[Path]]:
    """Every file and folder of every package, by the package's name."""
    return {
        file.stem.partition(":")[0]: [Path(line) for line in file.read_text().splitlines() if line != "/."]
        for file in sorted((DPKG / "info").glob("*.list"))
    }


def inside(path: Path) -> Iterator[Path]:
    """A path and, when it is a folder, everything in it."""
    yield path
    if path.is_dir() and not path.is_symlink():
        yield from sorted(path.rglob("*"))


def wanted(path: Path) -> bool:
    """Whether a file is taken."""
    name = str(path)
    if name.startswith("/usr/share/doc/"):
        return path.is_dir() or fnmatch(name, LICENCES)
    return os.path.lexists(path) and not any(fnmatch(name, pattern) for pattern in LEFT_OUT)


def libraries(files: Iterable[Path]) -> set[Path]:
    """The libraries that programs and libraries load, where they really are."""
    elf = [file for file in files if file.is_file() and not file.is_symlink() and _is_elf(file)]
    said = subprocess.run(["ldd", *elf], capture_output=True, text=True, check=False).stdout
    if "not found" in said:
        raise SystemExit(f"a library is lacking:\n{said}")
    found = re.findall(r"(?:=> |^\s+)(/\S+) \(0x", said, re.MULTILINE)
    return {Path(os.path.realpath(name)) for name in found}


def _is_elf(file: Path) -> bool:
    with file.open("rb") as content:
        return content.read(4) == b"\x7fELF"


def gather(target: Path) -> None:
    """Fill a folder with Python's file system, the same bytes each time."""
    packages = owned()
    kept = {name for name in packages if PACKAGES.fullmatch(name)}
    beside = [path for name in BESIDE for path in inside(Path(name))]
    own = [path for name in sorted(kept) for path in packages[name]]
    owner = {os.path.realpath(path): name for name, files in packages.items() for path in files if not path.is_dir()}
    kept |= {owner[str(library)] for library in libraries(filter(wanted, (*own, *beside))) if str(library) in owner}
    for path in sorted({*beside, *(path for name in kept for path in packages[name])}):
        if wanted(path):
            copy(path, target)
    stanzas = (DPKG / "status").read_text().strip().split("\n\n")
    status = [text for text in stanzas if (name := re.match(r"Package: (\S+)", text)) and name[1] in kept]
    (target / "var/lib/dpkg").mkdir(parents=True, exist_ok=True)
    (target / "var/lib/dpkg/status").write_text("\n\n".join(status) + "\n")
    subprocess.run(["ldconfig", "-r", target], check=True)
    shutil.rmtree(target / "var/cache", ignore_errors=True)
    for folder in target.glob("usr/**/lib/python3.*"):
        compileall.compile_dir(
            folder, quiet=2, stripdir=target, prependdir="/", invalidation_mode=PycInvalidationMode.UNCHECKED_HASH
        )
    settle(target)


def copy(path: Path, target: Path) -> None:
    """Copy one file, link or (empty) folder to the same place in the target."""
    place = target / path.relative_to("/")
    if path.is_symlink() or not path.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(place):
            shutil.copy2(path, place, follow_symlinks=False)
    else:
        place.mkdir(parents=True, exist_ok=True)


def settle(target: Path) -> None:
    """Give everything the same owner, moment and plain permissions; the folder for temporary files is everybody's."""
    for path in sorted(target.rglob("*"), reverse=True):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o111 else 0o644)
        os.chown(path, 0, 0, follow_symlinks=False)
        os.utime(path, (0, 0), follow_symlinks=False)
    (target / "tmp").chmod(0o1777)
    os.utime(target, (0, 0))


if __name__ == "__main__":
    gather(Path(sys.argv[1]))
