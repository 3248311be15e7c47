"""What must be known before anything is made: the machine, its engine, its programs and its room, seen once."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from slipway import dockerd, engine, git, gobuild, machine, names, ports, registry, shell, tools
from slipway.errors import SlipwayError
from slipway.machine import Machine
from slipway.settings import Settings, instances

_PROGRAM_TIMEOUT = 20.0

# A file beside a Tilt that has the plain page alone: why it has no other.
PLAIN_PAGE = "why.txt"


@dataclass(frozen=True)
class Running:
    """An engine that answers.

    Attributes:
        name: Product and version, for people.
        address: Where it is.
        here: Whether it runs on this machine, so that the ports it publishes are this machine's.
        cores: The processors it has for containers.
        memory: The bytes of memory it has for containers.
        missing_capabilities: What its containers cannot be given, although kind's nodes need it.
        builds: "" when a client here can build with BuildKit, else why not.
    """

    name: str
    address: str
    here: bool
    cores: int
    memory: int
    missing_capabilities: tuple[str, ...]
    builds: str


@dataclass(frozen=True)
class Survey:
    """Everything the doctor judges.

    Attributes:
        machine: The machine.
        engine: The running engine, or None.
        no_engine: Why none answers, and what to install; "" when one runs or can be started.
        programs: The version of each program that was looked for; "" when it is not there.
        tilt_wanted: The version of Tilt that the pins name.
        tilt_page: Whether the Tilt that was found has its own page.
        go_wanted: The oldest Go that the recipes allow.
        home: Slipway's state folder.
        home_free: Bytes that may still be written there.
        images_free: Bytes that may still be written where the engine keeps images, when that is another disk of this
            machine; None when it is the same disk, or not to be seen from here.
        cached: Whether earlier runs have left what they compiled.
        made: Whether this instance was made before, and has its images on the disk already; its node may stand still.
        running: Whether this instance's node runs, and has its memory already.
        http_port: The port a new instance would get.
        registry_port: The port that the registry has or would get.
        now: The machine's time, in seconds since 1970.
        newest: The time of the checkout's newest commit; 0 when it has none.
        python: The version of Python that runs this.
    """

    machine: Machine
    engine: Running | None
    no_engine: str
    programs: Mapping[str, str]
    tilt_wanted: str
    tilt_page: bool
    go_wanted: str
    home: Path
    home_free: int
    images_free: int | None
    cached: bool
    made: bool
    running: bool
    http_port: int
    registry_port: int
    now: float
    newest: float
    python: str


def take(settings: Settings) -> Survey:
    """Everything the doctor judges, as it is now. Nothing is changed or started."""
    facts = machine.look()
    found = engine.find(settings)
    node = found.container(settings.node) if found else None
    shop = registry.find(found) if found else None
    tilt = _tilt(settings)
    taken = found.mapped() if found else frozenset[int]()
    return Survey(
        machine=facts,
        engine=_running(found) if found else None,
        no_engine="" if found else engine.refusal(facts),
        programs={
            "docker": _version(["docker", "--version"]),
            "git": _version(["git", "--version"]),
            "go": _version(["go", "env", "GOVERSION"]),
            # It says no version of its own.
            "ssh-keygen": "installed" if shell.which("ssh-keygen") else "",
            # Asked so, it keeps nothing of that for the user, and tells nobody.
            "tilt": _version([str(tilt), "version"], env={"TILT_DEV_DIR": str(tilt.parent), "TILT_DISABLE_ANALYTICS": "1"})
            if tilt
            else "",
        },
        tilt_wanted=_tilt_wanted(settings),
        tilt_page=bool(tilt and not tilt.with_name(PLAIN_PAGE).is_file()),
        go_wanted=_go_wanted(settings),
        home=settings.home,
        home_free=machine.free_bytes(settings.home),
        images_free=_images_free(settings, found),
        cached=gobuild.any_made(settings),
        # Of an engine that does not answer nobody knows which nodes it has: what is here speaks for them.
        made=settings.instance in instances(settings) and (node is not None or found is None),
        running=bool(node and node.status == "running" and settings.instance in instances(settings)),
        http_port=ports.free_port(names.PREFERRED_HTTP_PORT, reserved=taken),
        registry_port=shop.port if shop else ports.free_port(names.PREFERRED_REGISTRY_PORT, reserved=taken),
        now=time.time(),
        newest=_newest_commit(settings.root),
        python=platform.python_version(),
    )


def _running(found: engine.Engine) -> Running:
    info = found.info
    try:
        found.build_cli  # noqa: B018 - asked for what it raises
        builds = ""
    except SlipwayError as error:
        builds = str(error)
    return Running(
        name=f"{info.get('OperatingSystem', 'Docker')}, engine {info['ServerVersion']}",
        address=found.address.url,
        here=found.address.url.startswith("unix://"),
        cores=int(info.get("NCPU") or 0),
        memory=int(info.get("MemTotal") or 0),
        missing_capabilities=_missing(info.get("DefaultRuntime", "")),
        builds=builds,
    )


def _missing(runtime: str) -> tuple[str, ...]:
    if runtime == dockerd.RUNTIME:
        return ()
    lacks: set[str] = set()
    for pid in machine.processes("dockerd"):
        lacks |= set(machine.missing_capabilities(machine.read(Path(f"/proc/{pid}/status"))))
    return tuple(sorted(lacks))


def _images_free(settings: Settings, found: engine.Engine | None) -> int | None:
    data = Path((found.info.get("DockerRootDir") if found else None) or "/var/lib/docker")
    try:
        # The engine of a virtual machine (Docker Desktop) names a folder that is not on this side.
        if platform.system() != "Linux" or (found and not data.exists()):
            return None
        apart = machine.existing(data).stat().st_dev != machine.existing(settings.home).stat().st_dev
        return machine.free_bytes(data) if apart else None
    except OSError:  # it lies where this user may not look
        return None


def _tilt(settings: Settings) -> Path | None:
    """The Tilt that `dev` would start: a compiled one with its page before one's own, and that before one with a plain page."""
    made = [*(settings.cache / "tilt").glob("[!.]*/tilt")]
    last = max(made, key=lambda it: (not it.with_name(PLAIN_PAGE).is_file(), it.parent.stat().st_mtime), default=None)
    if last and not last.with_name(PLAIN_PAGE).is_file():
        return last
    return tools.find_on_path("tilt", _tilt_wanted(settings)) or last


def _tilt_wanted(settings: Settings) -> str:
    return str(settings.versions["versions"]["tilt"])


def _version(argv: list[str], *, env: Mapping[str, str] | None = None) -> str:
    if not shell.which(argv[0]):
        return ""
    result = shell.run(argv, env=env, check=False, timeout=_PROGRAM_TIMEOUT)
    found = re.search(r"\d+\.\d+(\.\d+)?", result.stdout)
    return found.group() if found else ""


def _go_wanted(settings: Settings) -> str:
    files = sorted((settings.cluster / "go").glob("*/go.mod"))
    wanted = [line.split()[1] for file in files for line in file.read_text().splitlines() if line.startswith("go ")]
    return max(wanted, key=parts, default="1.22")


def parts(version: str) -> tuple[int, ...]:
    """A version's numbers, so that versions compare as they should."""
    return tuple(int(number) for number in re.findall(r"\d+", version))


def _newest_commit(root: Path) -> float:
    try:
        return float(git.log(root, "HEAD", limit=1)[0].time)
    except SlipwayError:  # there is no Git, or no commit
        return 0.0
