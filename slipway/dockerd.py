"""The engine's own program: installed from the distribution, started, watched until it answers, stopped.

Only used where no engine runs. What is kept of it lies in Settings.home/engine: its log, its process id, the shim.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from slipway import machine, shell
from slipway.errors import CommandFailed, ToolMissing
from slipway.machine import Machine
from slipway.settings import Settings
from slipway.waiting import Failed, Pending, Ready, wait_for

SOCKET = Path("/var/run/docker.sock")
RUNTIME = "slipway"

# With many containers to start again, an engine that was killed takes its time before it answers.
START_TIMEOUT = 120.0
STOP_TIMEOUT = 60.0
APT_TIMEOUT = 600.0

GO_TIMEOUT = 600.0
_GO_FLAGS = ("-trimpath", "-gcflags=all=-dwarf=false", "-buildvcs=false", "-ldflags=-s -w")
_GO_ENVIRONMENT = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off"}

_LOG_LIMIT = 10_000_000
_LOG_LINES = 15

# Some releases split these off docker.io, and without recommended packages would leave them out.
_SPLIT_PACKAGES = ("docker-cli", "docker-buildx")

# Process ids and sockets that a killed engine leaves behind. Each makes the next one refuse to start, or wait for nothing,
# when another process has the id by then.
_CONTAINERD_PID = Path("/var/run/docker/containerd/containerd.pid")
_CONTAINERD_SOCKET = Path("/run/containerd/containerd.sock")


def folder(settings: Settings) -> Path:
    """Where the state of an engine that Slipway started lies."""
    return settings.home / "engine"


def possible(facts: Machine) -> str:
    """An empty text when an engine can be started here, else what to install or do, in one sentence."""
    if facts.system == "darwin":
        return (
            "Install and start Docker Desktop, OrbStack or Colima (`brew install colima docker docker-buildx && colima start`)."
        )
    if not facts.root:
        return (
            "Start it with `sudo systemctl start docker`; when it is not installed, install it "
            "(`sudo apt-get install docker.io` on Debian and Ubuntu) and let your user use it "
            '(`sudo usermod -aG docker "$USER"`, then log in again).'
        )
    if shutil.which("dockerd") or facts.debian:
        return ""
    return f"Install Docker's engine with the package manager of {facts.name} and start it."


def start(settings: Settings, facts: Machine, *, answers: Callable[[], bool], say: Callable[[str], None]) -> None:
    """Return when the machine's engine answers; it is installed first when it is not there.

    Args:
        settings: Where its log and process id are kept.
        facts: The machine; `possible` has said "".
        answers: Whether the engine answers now.
        say: Told what happens, as it happens.

    Raises:
        SlipwayError: It cannot be installed, or ended; the message holds the last lines of its log.
    """
    home = folder(settings)
    home.mkdir(parents=True, exist_ok=True)
    with (home / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not answers():  # another run may have started it meanwhile
            _start(home, settings, facts, answers=answers, say=say)


def _start(home: Path, settings: Settings, facts: Machine, *, answers: Callable[[], bool], say: Callable[[str], None]) -> None:
    if not shutil.which("dockerd"):
        install(say=say)
    log = home / "dockerd.log"
    shim = build_shim(settings, say=say) if facts.missing_capabilities else None
    if answers():  # its package has started it
        if not shim:
            return
        say("starting the engine again, with the shim")
        shell.run(["service", "docker", "stop"], timeout=STOP_TIMEOUT)
    if facts.systemd and not shim:
        say("starting docker.service")
        shell.run(["systemctl", "start", "docker"], timeout=START_TIMEOUT, hint="Look at `journalctl -u docker`.")
        pid, others = 0, set[int]()
    else:
        _clear_stale(home)
        if log.exists() and log.stat().st_size > _LOG_LIMIT:
            log.replace(log.with_suffix(".log.1"))
        say("starting dockerd" + (f", with a shim for the missing {', '.join(facts.missing_capabilities)}" if shim else ""))
        others = set(machine.processes("dockerd"))  # of other sockets; none of them is what is waited for
        pid = shell.start(command(home, shim=shim), log_file=log)
    _await_answer(pid, log, others=others, answers=answers, say=say)


def command(home: Path, *, shim: Path | None) -> list[str | Path]:
    """The engine's command line.

    Args:
        home: Where its process id is kept.
        shim: The runtime that every container starts by; the engine's own when None.
    """
    runtime: list[str | Path] = ["--add-runtime", f"{RUNTIME}={shim}", "--default-runtime", RUNTIME] if shim else []
    return ["dockerd", "--log-level", "warn", "--pidfile", home / "dockerd.pid", *runtime]


def install(*, say: Callable[[str], None]) -> None:
    """Install the distribution's engine with apt.

    Raises:
        SlipwayError: apt cannot; the message carries its last lines.
    """
    say("installing docker.io and iptables")
    # A package list that is missing or old shows by an install that fails; only then is it worth the time to update.
    try:
        _apt_install()
    except CommandFailed:
        say("updating the package lists")
        _apt("update")
        say("installing docker.io and iptables")
        _apt_install()


def _apt_install() -> None:
    split = [name for name in _SPLIT_PACKAGES if shell.run(["apt-cache", "show", name], check=False).stdout]
    _apt("install", "-y", "--no-install-recommends", "docker.io", "iptables", "ca-certificates", *split)


def _apt(*words: str) -> None:
    shell.run(
        ["apt-get", "-q", *words],
        env={"DEBIAN_FRONTEND": "noninteractive"},
        timeout=APT_TIMEOUT,
        hint="Install docker.io and iptables yourself, or start a Docker engine, then run the command again.",
    )


def build_shim(settings: Settings, *, say: Callable[[str], None]) -> Path:
    """The runtime that leaves out the capabilities this machine cannot give; compiled when it is not there yet.

    Raises:
        ToolMissing: There is no Go to compile it with.
        CommandFailed: It does not compile.
    """
    shim, sources = folder(settings) / "slipway-runtime", settings.cluster / "go" / "shim"
    newest = max((sources / name).stat().st_mtime for name in ("go.mod", "main.go"))
    if shim.exists() and shim.stat().st_mtime >= newest:
        return shim
    if not shutil.which("go"):
        raise ToolMissing(
            "this machine gives its processes not every capability, so the engine needs a small runtime shim, "
            "and Go, which compiles it, is not installed. Install Go (https://go.dev/dl), then run the command again."
        )
    say("compiling the runtime shim")
    fresh = shim.with_suffix(".new")
    # With the flags of every other program, so that a source build finds the standard library compiled.
    shell.run(["go", "build", *_GO_FLAGS, "-o", fresh, "."], cwd=sources, env=_GO_ENVIRONMENT, timeout=GO_TIMEOUT)
    fresh.replace(shim)  # a running container may be executing the old one
    return shim


def stop(settings: Settings) -> bool:
    """Whether an engine that Slipway started was running; it is stopped now, and its containers with it.

    Raises:
        WaitTimeout: It does not end.
    """
    pid = started(settings)
    if not pid:
        return False
    os.kill(pid, signal.SIGTERM)
    wait_for(
        f"the end of dockerd (process {pid})",
        lambda: Pending("it still runs") if started(settings) else Ready(None),
        timeout=STOP_TIMEOUT,
        hint=f"Look at {folder(settings) / 'dockerd.log'}; end it yourself with `kill {pid}`.",
    )
    return True


def started(settings: Settings) -> int:
    """The process id of the running engine that Slipway started; 0 when there is none."""
    file = folder(settings) / "dockerd.pid"
    with contextlib.suppress(OSError, ValueError):
        pid = int(file.read_text())
        return pid if pid in machine.processes("dockerd") else 0
    return 0


def _await_answer(pid: int, log: Path, *, others: set[int], answers: Callable[[], bool], say: Callable[[str], None]) -> None:
    def probe() -> Ready[None] | Pending | Failed:
        if answers():
            return Ready(None)
        # It ended, and no run beside this one has started another. It is asked for by its id: for a moment after its start
        # a program still has the name of the one that started it.
        if pid and not machine.runs(pid) and not set(machine.processes("dockerd")) - others:
            return Failed(f"it ended; the last lines of {log}:\n{_tail(log)}")
        return Pending(_tail(log, lines=1).strip() or "no word from it yet")

    wait_for(
        "the Docker engine",
        probe,
        timeout=START_TIMEOUT,
        on_change=say,
        hint=f"Its log is {log}. `./invoke doctor` shows what this machine lacks.",
    )


def _tail(log: Path, *, lines: int = _LOG_LINES) -> str:
    try:
        return "\n".join(f"    {line}" for line in log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def _clear_stale(home: Path) -> None:
    for file, name in ((home / "dockerd.pid", "dockerd"), (_CONTAINERD_PID, "containerd")):
        with contextlib.suppress(OSError, ValueError):
            if int(file.read_text()) not in machine.processes(name):
                file.unlink()
    if _CONTAINERD_SOCKET.exists() and not _accepts(_CONTAINERD_SOCKET):
        _CONTAINERD_SOCKET.unlink()


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
