"""A registry of our own that serves images under their upstream names, as a mirror does."""

from __future__ import annotations

import io
import secrets
import tarfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import yaml

from slipway import names, oci, ports
from slipway.engine import Engine
from slipway.waiting import Pending, Ready, wait_for


@dataclass(frozen=True)
class Mirror:
    """A running mirror; `host` is what SLIPWAY_MIRROR is set to."""

    engine: Engine
    host: str

    def publish(self, image: str, upstream: str) -> str:
        """The digest under which the mirror now serves an image of the engine by its upstream name."""
        there = f"{self.host}/{upstream}"
        self.engine.tag(image, there)
        try:
            return self.engine.push(there)
        finally:
            self.engine.untag(there)


def registry_image(engine: Engine) -> str:
    """An image that runs a registry; a test that finds none fails, and says what makes one."""
    for found in engine.client.images.list(name="slipway/registry"):
        if found.tags:
            return found.tags[0]
    pytest.fail("the engine holds no registry image; `./invoke up` makes one", pytrace=False)


@contextmanager
def mirror(engine: Engine) -> Generator[Mirror]:
    """A mirror that runs as long as this block, with nothing in it yet."""
    port = ports.free_port(5100)
    container = engine.client.containers.create(
        registry_image(engine),
        name=f"slipway-test-mirror-{secrets.token_hex(3)}",
        entrypoint=["registry"],
        command=["serve", "/mirror.yml"],
        environment={"OTEL_TRACES_EXPORTER": "none"},
        labels={names.OWNER_LABEL: names.OWNER},
        ports={"5000/tcp": (ports.LOOPBACK, port)},
    )
    config = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": "/mirror"}, "delete": {"enabled": True}},
        "http": {"addr": ":5000"},
    }
    container.put_archive("/", tar({"mirror.yml": yaml.safe_dump(config).encode()}))
    container.start()
    try:
        host = f"{ports.LOOPBACK}:{port}"
        wait_for("the mirror", lambda: Ready(None) if oci.answers(host) else Pending("no answer"), timeout=30)
        yield Mirror(engine, host)
    finally:
        container.remove(force=True, v=True)


def make_image(engine: Engine, name: str, content: str) -> str:
    """The name of an image that holds one file with this content, and nothing else."""
    repository, _, tag = name.rpartition(":")
    engine.client.api.import_image_from_data(tar({"content": content.encode()}), repository=repository, tag=tag)
    return name


def tar(files: dict[str, bytes]) -> bytes:
    """An archive of these files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, content in files.items():
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(content), 0o644
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()
