"""Debian file systems, made from signed packages by mmdebstrap: no image, no engine and no registry needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slipway import cache, machine, shell
from slipway.cache import Artefact
from slipway.errors import CommandFailed, ToolMissing
from slipway.progress import Phase
from slipway.settings import Settings

# Seconds; half a minute where the mirror is near.
BUILD_TIMEOUT = 1800.0
APT_TIMEOUT = 600.0

FILE = "rootfs.tar"

# Any fixed moment: files that are newer get this time, so that the same packages make the same archive.
EPOCH = 1767225600

# Nobody reads these in a container; licences stay.
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/lintian/*")
_KEPT = ("/usr/share/doc/*/copyright",)

# What apt and dpkg leave behind and make again when needed.
_REMOVED = ("/var/lib/apt/lists", "/var/cache/apt", "/var/cache/debconf", "/var/log", "/var/cache/ldconfig")


@dataclass(frozen=True)
class Rootfs:
    """A Debian file system.

    Attributes:
        suite: The release.
        packages: What it holds beside what every one has.
        left_out: Patterns of files that are not installed.
        kept: Patterns of files that are installed nevertheless.
    """

    suite: str
    packages: Sequence[str]
    left_out: Sequence[str] = ()
    kept: Sequence[str] = ()


def artefact(settings: Settings, rootfs: Rootfs) -> Artefact:
    """Where the archive of a file system is, or will be."""
    values = {"command": [str(word) for word in _command(rootfs, Path(FILE))], "machine": machine.look().architecture}
    return Artefact(settings.cache, "debian", cache.key(values=values))


def build(settings: Settings, rootfs: Rootfs, phase: Phase) -> Path:
    """The archive (a tar file) of a file system, made when it is not in the cache.

    Raises:
        ToolMissing: There is no mmdebstrap, and it cannot be installed here.
        CommandFailed: It failed: a mirror that is not within reach, a package that does not exist.
    """
    target = artefact(settings, rootfs)
    if not target.ensure(lambda folder: _make(rootfs, folder / FILE, phase), phase=phase):
        phase.skip("cached")
    return target.use() / FILE


def _make(rootfs: Rootfs, archive: Path, phase: Phase) -> None:
    if not shell.which("mmdebstrap"):
        _install(phase)
    shell.run(
        _command(rootfs, archive),
        env={"SOURCE_DATE_EPOCH": str(EPOCH), "DEBIAN_FRONTEND": "noninteractive"},
        timeout=BUILD_TIMEOUT,
        on_line=lambda line: phase.say(line.removeprefix("I: ")),
        hint="Debian's mirror must be within reach (http_proxy is honoured); --source=pull needs none.",
    )
    phase.say(f"Debian {rootfs.suite}, {archive.stat().st_size >> 20} MiB")


def _command(rootfs: Rootfs, archive: Path) -> list[str | Path]:
    words: list[str | Path] = ["mmdebstrap", "--variant=minbase", "--include", ",".join(sorted(rootfs.packages))]
    words += [f"--dpkgopt=path-exclude={pattern}" for pattern in (*_LEFT_OUT, *rootfs.left_out)]
    words += [f"--dpkgopt=path-include={pattern}" for pattern in (*_KEPT, *rootfs.kept)]
    words += ['--aptopt=Acquire::Languages "none"', '--aptopt=APT::Install-Recommends "false"']
    removed = " ".join(f'"$1"{path}/*' for path in _REMOVED)
    return [*words, f"--customize-hook=rm -rf {removed}", "--format=tar", rootfs.suite, archive]


def _install(phase: Phase) -> None:
    facts = machine.look()
    if not (facts.debian and facts.root):
        raise ToolMissing(
            "mmdebstrap is not installed, and building images from source needs it. Install it "
            "(`sudo apt-get install mmdebstrap debian-archive-keyring` on Debian and Ubuntu); or use --source=pull."
        )
    phase.say("installing mmdebstrap")
    packages = ["mmdebstrap", "debian-archive-keyring"]
    install = ["apt-get", "-q", "install", "-y", "--no-install-recommends", *packages]
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        shell.run(install, env=quiet, timeout=APT_TIMEOUT)
    except CommandFailed:  # package lists that are missing or old show only so
        phase.say("updating the package lists")
        shell.run(["apt-get", "-q", "update"], env=quiet, timeout=APT_TIMEOUT)
        shell.run(install, env=quiet, timeout=APT_TIMEOUT, hint="Install mmdebstrap yourself, then run the command again.")
