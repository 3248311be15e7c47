"""Whether what `dev --ci` waits for can still come: a container that ends again and again never comes up.

Tilt's ci mode waits for such a one until its deadline: a pod in which anything has run before is on its way to it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway import names, ports, shell
from slipway.errors import SlipwayError
from slipway.kube import NOT_YET, Kube, Object

# Kubernetes' word for a container that has failed, was started again, and has failed again.
_LOOPING = "CrashLoopBackOff"

# Exit codes from here on are those of signals: a slow machine sends them too, and what was too slow once may not be again.
_BY_SIGNAL = 128
_TOO_LARGE = "OOMKilled"

# The most of a log that is told again; a traceback of Python is rarely longer.
_LINES = 25

# Seconds for Tilt to say what it has deployed; it takes a tenth of one.
_TELL_TIMEOUT = 20.0


class NeverUp(SlipwayError):
    """What was to be brought up does not come up, whatever time it gets."""


@dataclass(frozen=True)
class Crash:
    """A container that ends again and again.

    Attributes:
        resource: What it belongs to, as Tilt calls it: a service or a store.
        pod: Its pod.
        why: How it ended the last time.
        restarts: How often it was started again.
        said: The last lines that it said.
    """

    resource: str
    pod: str
    why: str
    restarts: int
    said: str

    def __str__(self) -> str:
        said = "".join(f"\n    {line}" for line in self.said.splitlines())
        times = "once" if self.restarts == 1 else f"{self.restarts} times"
        return (
            f"{self.resource} does not come up: its container ended with {self.why}, and did so again when it was started anew "
            f"({times}, pod {self.pod}). {f'It said last:{said}' if said else 'It said nothing.'}"
        )


class Watch:
    """Looks for what never comes up; `crashes` is what was found.

    Args:
        kube: The cluster.
        deployed: Asks Tilt for the pod of each thing that it has deployed in this run, by the thing.
    """

    def __init__(self, kube: Kube, deployed: Callable[[], Mapping[str, str]]) -> None:
        self.kube, self.deployed = kube, deployed
        self.crashes: tuple[Crash, ...] = ()

    def hopeless(self) -> bool:
        """Whether there is a service that never comes up. A cluster that does not answer just now says nothing about it."""
        try:
            if looping := dict(_looping(self.kube)):
                # What an earlier run has left may crash on until Tilt has put something else in its place.
                now = self.deployed()
                self.crashes = tuple(self._crash(name, pod, looping[pod]) for name, pod in now.items() if pod in looping)
        except NOT_YET:
            pass
        return bool(self.crashes)

    def require(self) -> None:
        """Return when nothing was found.

        Raises:
            NeverUp: Something was; the message says what it said last.
        """
        if self.crashes:
            commands = " ".join(f"`./invoke logs {crash.resource} --env {names.LOCAL}`" for crash in self.crashes)
            raise NeverUp(
                "\n".join([*map(str, self.crashes), f"Correct it and repeat the command. All that it said: {commands}"])
            )

    def _crash(self, name: str, pod: str, status: Object) -> Crash:
        said = [
            self.kube.logs(pod, namespace=names.LOCAL, container=status["name"], tail=_LINES, previous=previous).strip()
            for previous in (True, False)
        ]
        ended = _last(status)
        why = f"exit code {ended['exitCode']}" + (f" ({_TOO_LARGE})" if ended.get("reason") == _TOO_LARGE else "")
        return Crash(name, pod, why, status["restartCount"], next(filter(None, said), ""))


def deployed(program: Path, environment: Mapping[str, str], port: int) -> Mapping[str, str]:
    """The newest pod of each thing that a Tilt has deployed since it began, by its name there; empty when it does not answer.

    Args:
        program: Tilt.
        environment: What the running one has in its environment.
        port: Where that listens.
    """
    words = [program, "get", "uiresources", "--host", ports.LOOPBACK, "--port", str(port), "--output=json"]
    try:
        said = shell.run(words, env=environment, timeout=_TELL_TIMEOUT).stdout
    except SlipwayError:  # it just begins, or ends
        return {}
    things: list[Mapping[str, Any]] = json.loads(said)["items"]
    found = {item["metadata"]["name"]: item.get("status") or {} for item in things}
    pods = {
        name: (told.get("k8sResourceInfo") or {}).get("podName") for name, told in found.items() if told.get("lastDeployTime")
    }
    return {name: pod for name, pod in pods.items() if pod}


def _looping(kube: Kube) -> Iterator[tuple[str, Object]]:
    """The pods of `local` in which a container fails by itself, time and again, each with the state of that container."""
    for pod in kube.list("Pod", namespace=names.LOCAL):
        found = pod.get("status") or {}
        for status in [*(found.get("initContainerStatuses") or []), *(found.get("containerStatuses") or [])]:
            waiting, ended = (status.get("state") or {}).get("waiting") or {}, _last(status)
            own = ended and (ended["exitCode"] < _BY_SIGNAL or ended.get("reason") == _TOO_LARGE)
            if waiting.get("reason") == _LOOPING and own and not pod["metadata"].get("deletionTimestamp"):
                yield pod["metadata"]["name"], status


def _last(status: Object) -> Mapping[str, Any]:
    return (status.get("lastState") or {}).get("terminated") or {}
