"""The network of a benchmark of services: containers that reach nothing but each other, one of which sends the loads."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import yaml

from slipway import cache, engine, httpload
from slipway.engine import Container, Engine
from slipway.errors import SlipwayError
from slipway.httpload import Load
from slipway.names import OWNER, OWNER_LABEL
from slipway.progress import Phase
from slipway.settings import Settings
from slipway.waiting import Failed

RUN = "slipway-bench-services"
_RUN_LABEL = "slipway.dev/bench"
_CONFIG = "/etc/slipway/config.yaml"
_MEMORY = "512m"

# The engine's names of the images that are made for a run begin so.
IMAGES = f"{OWNER}/bench-"

# The container that sends the loads.
GENERATOR = "generator"


@contextmanager
def network(settings: Settings, found: Engine) -> Generator[Network]:
    """A network for one run; it is gone, with its containers and their images, when this block ends."""
    with cache.locked(settings.cache, RUN, phase=Phase("lock")):
        _clear(found)  # what a run left that was killed
        try:
            yield Network(found)
        finally:
            _clear(found)


def _clear(found: Engine) -> None:
    ours: Any = {"label": f"{_RUN_LABEL}={RUN}"}
    with engine.asking("what the benchmark leaves"):
        for container in found.client.containers.list(all=True, filters=ours):
            container.remove(force=True, v=True)
        for network in found.client.networks.list(filters=ours):
            network.remove()
        for tag in {tag for image in found.client.images.list() for tag in image.tags if tag.startswith(IMAGES)}:
            found.untag(tag)


class Network:
    """The containers of one run.

    Args:
        found: The engine.
    """

    def __init__(self, found: Engine) -> None:
        self._engine = found
        self._others, self._own = cores(int(found.info["NCPU"]))
        self._running: dict[str, Container] = {}
        self._addresses: dict[str, str] = {}
        with engine.asking(f"network {RUN}"):
            # Nothing in it reaches anything but each other.
            found.client.networks.create(RUN, driver="bridge", internal=True, labels=_labels())

    @property
    def count(self) -> int:
        """How many containers were started."""
        return len(self._running)

    def address(self, name: str) -> str:
        """The address of a container: looking it up by name each time would be measured too, and fails on a busy machine."""
        if name not in self._addresses:
            container = self._running[name]
            with engine.asking(f"container {container.name}"):
                container.reload()
            self._addresses[name] = container.attrs["NetworkSettings"]["Networks"][RUN]["IPAddress"]
        return self._addresses[name]

    def send(self, load: Load) -> httpload.Result:
        """What came of a load that the generator sent."""
        return httpload.Result(**json.loads(self.execute(GENERATOR, generate(load))))

    def processor(self, name: str) -> float:
        """Processor seconds of a container so far."""
        with engine.asking(f"what {name} uses"):
            said: Any = self._engine.client.api.stats(str(self._running[name].id), stream=False, one_shot=True)
        return said["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9

    @contextmanager
    def alone(self, name: str) -> Generator[None]:
        """While this block runs, a container has a core that nothing else of the benchmark has."""
        self._pin(name, self._own)
        try:
            yield
        finally:
            self._pin(name, self._others)

    def _pin(self, name: str, core: str) -> None:
        with engine.asking(f"pin {name}"):
            self._running[name].update(cpuset_cpus=core)

    def gone(self, name: str) -> Failed | None:
        """Why a container will never be ready: it does not run. None while it does."""
        container = self._running[name]
        with engine.asking(f"container {name}"):
            container.reload()
            return None if container.status == "running" else Failed(f"it is {container.status}: {log(container)}")

    def execute(self, name: str, words: Sequence[str]) -> str:
        """What a command printed that ran in a container.

        Raises:
            SlipwayError: It failed; the message has what it said.
        """
        code, said = self.exec(name, words)
        if code:
            raise SlipwayError(
                f"{words[0]} in the benchmark's container {name} ended with exit code {code}: {said.strip()[-1000:]}"
            )
        return said

    def exec(self, name: str, words: Sequence[str], environment: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Exit code and output of a command in a container."""
        with engine.asking(f"{words[0]} in {name}"):
            answer = self._running[name].exec_run(list(words), environment=dict(environment or {}))
        return answer.exit_code or 0, cast("bytes", answer.output).decode(errors="replace")

    def run(self, name: str, image: str, *, config: Mapping[str, Any] | None = None, **options: Any) -> Container:
        """A container that was started, and is reached by its name.

        Args:
            name: Its name in the network.
            image: The engine's name of its image.
            config: The configuration of a service, as the file it reads.
            options: More that the engine is told.
        """
        with engine.asking(f"start {name}"):
            container = self._engine.client.containers.create(
                image,
                name=f"{RUN}-{name}",
                labels=_labels(),
                network=RUN,
                networking_config={RUN: self._engine.client.api.create_endpoint_config(aliases=[name])},
                cpuset_cpus=self._others,
                mem_limit=_MEMORY,
                # As in the cluster, a service may listen where its callers look for it.
                sysctls={"net.ipv4.ip_unprivileged_port_start": "0"},
                **options,
            )
            self._running[name] = container
            if config is not None:
                container.put_archive("/", archive(_CONFIG, yaml.safe_dump(dict(config)).encode()))
            container.start()
        return container


def cores(count: int) -> tuple[str, str]:
    """The core for everything else, and the one for what is measured; the same where there is only one."""
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(count))
    usable = usable if len(usable) <= count else list(range(count))
    return str(usable[0]), str(usable[-1])


def archive(path: str, content: bytes) -> bytes:
    """A tar archive of one file that everybody may read."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        info = tarfile.TarInfo(path.lstrip("/"))
        info.size, info.mode = len(content), 0o644
        made.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def generate(load: Load) -> list[str]:
    """The command that sends a load."""
    return ["/venv/bin/python", "-c", Path(httpload.__file__).read_text(), json.dumps(asdict(load))]


def _labels() -> dict[str, str]:
    return {OWNER_LABEL: OWNER, _RUN_LABEL: RUN}


def log(container: Container) -> str:
    """The end of what a container said."""
    with engine.asking(f"the log of {container.name}"):
        return b"".join(cast("Any", container.logs(tail=20, stream=True, follow=False))).decode(errors="replace")[-2000:]
