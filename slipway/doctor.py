"""Whether this machine can run an instance: every check with what was found and its cure, before anything is made."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from slipway import names, survey
from slipway.errors import SlipwayError
from slipway.machine import GIB
from slipway.progress import Progress
from slipway.settings import Settings
from slipway.survey import Survey

if TYPE_CHECKING:
    from rich.console import Console

Level = Literal["ok", "warn", "fail"]

# What an instance was measured to need, by profile; a profile without a number here needs what the largest needs.
MEMORY = {"full": 3.5 * GIB, "minimal": 2.0 * GIB}
# What the compilers of a source build were measured to need at their worst.
BUILD_MEMORY = 4.0 * GIB
DISK = 6 * 10**9
BUILD_DISK = 15 * 10**9
# With artefacts of an earlier build there, this is what the rest of it may take.
REBUILD_DISK = 5 * 10**9

# What kind advises; the kubelet, Argo CD and the file watchers of one instance alone need more than the kernel's 128.
INOTIFY = {"max_user_instances": 512, "max_user_watches": 262144}
_INOTIFY_FOLDER = Path("/proc/sys/fs/inotify")

OLDEST_PYTHON = "3.11"
# From 2.34 on it signs with SSH keys, from 2.38 on it merges without a working tree.
OLDEST_GIT = "2.38"
# From this version on, Go fetches the version that a recipe asks for.
_OLDEST_SELF_UPDATING_GO = "1.21"

# Of pods, as kind has it by default, and of Services, as cluster/kind.yaml says.
CLUSTER_NETWORKS = (ipaddress.IPv4Network("10.244.0.0/16"), ipaddress.IPv4Network("10.96.0.0/16"))


class Unfit(SlipwayError):
    """The machine cannot run what was asked for."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What.
        ok: Whether `up` can go on.
        level: "ok", "warn" (it works, but...) or "fail".
        found: What was seen, with numbers.
        cure: What to do about it, in one sentence; "" when all is well.
    """

    name: str
    ok: bool
    level: Level
    found: str
    cure: str = ""


def examine(settings: Settings, *, profile: str = "full", source: str = "auto", seen: Survey | None = None) -> list[Check]:
    """Every check, in the order in which a user would mend things. Nothing is changed or started.

    Args:
        settings: The instance that is to be made.
        profile: What it is to hold.
        source: Where its images come from; while that is open ("auto"), what only a source build needs is a warning.
        seen: What was seen of the machine, when that is known already.
    """
    seen = seen or survey.take(settings)
    upstream = source == "pull" and not settings.own_pins
    return [
        *_engine(seen, source),
        *_kernel(seen, upstream_node=upstream),
        *_room(seen, profile, source),
        *_programs(seen, source),
        _tilt(seen),
        *_network(seen),
    ]


def require(settings: Settings, *, profile: str, source: str, progress: Progress) -> list[Check]:
    """Every check, none of them failed; limits that this process may raise are raised first, and said.

    Raises:
        Unfit: A check failed; the message holds what was found, and the cure, of each that did.
    """
    with progress.phase("machine") as phase:
        seen = survey.take(settings)
        raised = raise_limits(seen)
        if raised:
            progress.note(f"raised {', '.join(raised)} (until the next start of this machine)")
            seen = survey.take(settings)
        checks = examine(settings, profile=profile, source=source, seen=seen)
        failed = [check for check in checks if not check.ok]
        if failed:
            listed = "\n".join(f"  {check.name}: {check.found}. {check.cure}" for check in failed)
            raise Unfit(f"this machine cannot run a {profile} instance yet:\n{listed}\n`./invoke doctor` shows every check.")
        for check in checks:
            if check.level == "warn":
                progress.note(f"warning: {check.name}: {check.found}. {check.cure}")
        phase.say(f"{len(checks)} checks passed")
    return checks


def raise_limits(seen: Survey, *, folder: Path = _INOTIFY_FOLDER) -> list[str]:
    """The kernel limits that were too low and that this process could raise, each as "name from old to new"."""
    raised: list[str] = []
    if not seen.machine.root:
        return raised
    for name, (had, wanted) in _inotify_lacks(seen).items():
        try:
            (folder / name).write_text(str(wanted))
        except OSError:  # a sandbox may keep its kernel's settings from root too: the check then tells
            continue
        raised.append(f"fs.inotify.{name} from {had} to {wanted}")
    return raised


def show(checks: Iterable[Check], console: Console) -> None:
    """Print the checks for a person: a line each, and the cure below where there is something to do."""
    marks: dict[Level, str] = {"ok": "[green]✓[/]", "warn": "[yellow]![/]", "fail": "[red]✗[/]"}
    for check in checks:
        console.print(f"{marks[check.level]} {check.name:<13}", end="")
        console.print(check.found, markup=False)
        if check.cure:
            console.print(f"{'':<15}{check.cure}", markup=False)


def _ok(name: str, found: str) -> Check:
    return Check(name, ok=True, level="ok", found=found)


def _bad(name: str, found: str, cure: str, *, level: Level = "fail") -> Check:
    return Check(name, ok=level != "fail", level=level, found=found, cure=cure)


def _cure(seen: Survey, cure: str, *, fresh: str) -> str:
    """A cure, with another one that only a fresh instance has: one that is there keeps its source and its profile."""
    return f"{cure}." if seen.made else f"{cure}, or {fresh}."


def _built(seen: Survey, source: str) -> bool:
    """Whether there may be nothing left to be built: the instance is there, and what was compiled for it."""
    return seen.made and (seen.cached or source != "build")


def _if_built(seen: Survey, source: str) -> Level:
    """How bad it is when something lacks that only a build needs: there may be none."""
    return "warn" if source == "auto" or _built(seen, source) else "fail"


def _engine(seen: Survey, source: str) -> Iterator[Check]:
    found = seen.engine
    level = "warn" if _built(seen, source) else "fail"
    if found is None and seen.no_engine:
        yield _bad("engine", "no Docker engine answers", seen.no_engine)
    elif found is None and seen.machine.missing_capabilities and not seen.programs["go"]:
        lacks = ", ".join(seen.machine.missing_capabilities)
        cure = "Install Go (https://go.dev/dl), or start a Docker engine that copes."
        yield _bad(
            "engine", f"none runs, and without {lacks} it needs a shim that Go compiles; Go is not installed", cure, level=level
        )
    elif found is None:
        yield _ok("engine", "none runs; `up` installs and starts Debian's Docker engine")
    else:
        yield _ok("engine", f"{found.name} at {found.address}")
        if not found.here:
            cure = "Make sure that the ports it publishes are reachable on 127.0.0.1 here, or use an engine on this machine."
            yield _bad("engine place", f"{found.address} is not a socket of this machine", cure, level="warn")
        if found.builds:
            yield _bad("image builds", found.builds.split(". ", 1)[0], found.builds.split(". ", 1)[-1], level=level)
        else:
            yield _ok("image builds", "a docker client with BuildKit is there")
    lacks = found.missing_capabilities if found else ()
    if lacks:
        cure = "Stop this engine: `up` starts one with a runtime shim that copes. Or run it where nothing is dropped."
        yield _bad("capabilities", f"the engine cannot give its containers {', '.join(lacks)}", cure)
    elif seen.machine.missing_capabilities:
        yield _ok("capabilities", f"{', '.join(seen.machine.missing_capabilities)} not to be had here; a runtime shim copes")
    else:
        yield _ok("capabilities", "all")


def _kernel(seen: Survey, *, upstream_node: bool) -> Iterator[Check]:
    version = seen.machine.cgroup
    if seen.machine.system != "linux":
        yield _ok("cgroup", "the engine's own virtual machine has it")
    elif version == 0:
        yield _bad("cgroup", "no control groups are mounted", "Mount them (package cgroupfs-mount does on old systems).")
    elif version == 1 and upstream_node:
        other = "use --source=build, whose node image still starts on version 1"
        cure = _cure(seen, "Boot with systemd.unified_cgroup_hierarchy=1", fresh=other)
        yield _bad("cgroup", "version 1, on which the upstream node image does not start", cure)
    else:
        yield _ok("cgroup", f"version {version}")
    lacks = _inotify_lacks(seen)
    if lacks and seen.machine.root:
        yield _ok("inotify", ", ".join(f"{name} {had}; `up` raises it to {wanted}" for name, (had, wanted) in lacks.items()))
    elif lacks:
        settings = " ".join(f"fs.inotify.{name}={wanted}" for name, (_, wanted) in lacks.items())
        said = ", ".join(f"{name} {had}, wanted {wanted}" for name, (had, wanted) in lacks.items())
        yield _bad("inotify", said, f"Raise it: `sudo sysctl -w {settings}`.", level="warn")
    else:
        yield _ok("inotify", "limits are high enough")


def _inotify_lacks(seen: Survey) -> dict[str, tuple[int, int]]:
    has = {"max_user_instances": seen.machine.inotify_instances, "max_user_watches": seen.machine.inotify_watches}
    return {name: (has[name], wanted) for name, wanted in INOTIFY.items() if 0 < has[name] < wanted}


def _room(seen: Survey, profile: str, source: str) -> Iterator[Check]:
    cores = min(seen.machine.cores, seen.engine.cores) if seen.engine and seen.engine.cores else seen.machine.cores
    if cores < 2:
        yield _bad("cores", f"{cores}, 2 wanted", "It works, but slowly; give the machine more.", level="warn")
    else:
        yield _ok("cores", str(cores))
    yield _memory(seen, profile, source)
    yield from _disk(seen, source)


def _memory(seen: Survey, profile: str, source: str) -> Check:
    needed, what = MEMORY.get(profile, max(MEMORY.values())), f"a {profile} instance"
    if source == "build" and not seen.cached and needed < BUILD_MEMORY:
        needed, what = BUILD_MEMORY, "building from source"
    total = min(seen.machine.memory, seen.engine.memory) if seen.engine and seen.engine.memory else seen.machine.memory
    available = seen.machine.memory_available
    said = f"{_gib(total)} in all" + (f", {_gib(available)} free" if available else "")
    if total < needed:
        cure = _cure(seen, "Give the machine (or Docker Desktop's virtual machine) more", fresh="take --profile=minimal")
        return _bad("memory", f"{said}; {what} needs {_gib(needed)}", cure)
    # A running instance has its share already.
    if available and available < needed and not seen.running:
        cure = _cure(seen, "End programs that use it or `./invoke down` another instance", fresh="take --profile=minimal")
        return _bad("memory", f"{said}; {what} needs {_gib(needed)}", cure)
    return _ok("memory", f"{said}; {what} needs {_gib(needed)}")


def _disk(seen: Survey, source: str) -> Iterator[Check]:
    images = 0 if seen.made else DISK
    caches = 0 if source == "pull" else REBUILD_DISK if seen.cached else BUILD_DISK
    level = _if_built(seen, source)
    needed = caches if seen.images_free is not None else images + caches
    yield _space("disk", str(seen.home), seen.home_free, needed, "fail" if seen.home_free < needed - caches else level)
    if seen.images_free is not None:
        yield _space("engine disk", "the engine's images", seen.images_free, images, "fail")


def _space(name: str, where: str, free: int, needed: int, level: Level) -> Check:
    found = f"{free / 1e9:.1f} GB free for {where}, {needed / 1e9:.1f} GB needed"
    if free >= needed:
        return _ok(name, found)
    cure = "Free some space (`./invoke images.prune`, `docker system prune`), or set SLIPWAY_HOME to a larger disk."
    return _bad(name, found, cure, level=level)


def _programs(seen: Survey, source: str) -> Iterator[Check]:
    if survey.parts(seen.python) < survey.parts(OLDEST_PYTHON):
        yield _bad("python", seen.python, f"Install Python {OLDEST_PYTHON} or newer and remove the folder .venv.")
    else:
        yield _ok("python", seen.python)
    git = seen.programs["git"]
    if not git or survey.parts(git) < survey.parts(OLDEST_GIT):
        yield _bad("git", git or "not installed", f"Install Git {OLDEST_GIT} or newer.")
    elif not seen.newest:
        yield _bad(
            "git", f"{git}, but this folder is no checkout", "Clone the repository: what is delivered comes from its HEAD."
        )
    else:
        yield _ok("git", git)
    if not seen.programs["ssh-keygen"]:
        yield _bad("ssh-keygen", "not installed; it signs what is promoted", "Install it (package openssh-client).")
    if seen.engine and not seen.programs["docker"]:
        yield _bad("docker", "no docker command", "Install Docker's client (package docker-cli or docker.io): kind needs it.")
    if source != "pull":
        yield _go(seen, _if_built(seen, source))


def _go(seen: Survey, level: Level) -> Check:
    go, wanted = seen.programs["go"], seen.go_wanted
    other = "use --source=pull where registries can be reached"
    cure = _cure(seen, f"Install Go {wanted} or newer (https://go.dev/dl)", fresh=other)
    if not go:
        return _bad("go", f"not installed; a source build needs {wanted}", cure, level=level)
    if survey.parts(go) >= survey.parts(wanted):
        return _ok("go", go)
    if survey.parts(go) >= survey.parts(_OLDEST_SELF_UPDATING_GO):
        return _bad("go", f"{go}; it will fetch {wanted} itself", f"To spare that, install Go {wanted}.", level="warn")
    return _bad("go", f"{go}; a source build needs {wanted}", cure, level=level)


def _tilt(seen: Survey) -> Check:
    """What `dev` needs and nothing else does, so that it is never in the way."""
    found, wanted = seen.programs["tilt"], seen.tilt_wanted
    if found == wanted:
        return _ok(
            "tilt", found if seen.tilt_page else f"{found}, with a plain page; `./invoke up --tilt` tries for its own again"
        )
    had = f"{found}, {wanted} wanted" if found else "none yet"
    if seen.machine.system != "linux":
        return _ok("tilt", f"{had}; `./invoke dev` needs {wanted} on the PATH (https://docs.tilt.dev/install)")
    return _ok("tilt", f"{had}; `./invoke up --tilt` compiles {wanted} in the background, or `./invoke dev` when it starts")


def _network(seen: Survey) -> Iterator[Check]:
    taken = {
        wanted: got
        for wanted, got in (
            (names.PREFERRED_HTTP_PORT, seen.http_port),
            (names.PREFERRED_REGISTRY_PORT, seen.registry_port),
        )
        if got != wanted
    }
    if taken:
        yield _ok("ports", "; ".join(f"{wanted} is taken, {got} is used instead" for wanted, got in taken.items()))
    else:
        yield _ok("ports", f"{seen.http_port} and {seen.registry_port} are free or ours")
    clash = [str(route) for route in seen.machine.routes for inner in CLUSTER_NETWORKS if route.overlaps(inner)]
    if clash:
        cure = "Hosts in them cannot be reached from pods; leave that VPN or network when you need them."
        yield _bad("routes", f"{', '.join(clash)} overlap the cluster's own networks", cure, level="warn")
    else:
        yield _ok("routes", "no overlap with the cluster's own networks")
    if seen.now < seen.newest - 60:
        behind = (seen.newest - seen.now) / 3600
        cure = "Set it (`sudo timedatectl set-ntp true`): certificates made now would not be valid yet."
        yield _bad("clock", f"{behind:.1f} h behind the newest commit of this checkout", cure, level="warn")
    else:
        yield _ok("clock", "not behind the newest commit of this checkout")


def _gib(amount: float) -> str:
    return f"{amount / GIB:.1f} GiB"
