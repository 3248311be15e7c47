"""Source `pull` against a registry of our own that serves upstream's references."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from slipway import engine as engines
from slipway import machine, ports, pull, shell, tools
from slipway.engine import Engine, EngineError
from slipway.errors import PinMismatch
from slipway.progress import Phase
from slipway.settings import Settings, load
from tests.e2e.mirror import Mirror, make_image, mirror

UPSTREAM = "docker.io/library/thing:1.0"
FACTS = machine.look()
TARGET = "slipway/test-thing:1.0"


@pytest.fixture(scope="module")
def engine() -> Engine:
    return engines.connect(load())


@pytest.fixture(scope="module")
def images(engine: Engine) -> Iterator[tuple[str, str]]:
    made = tuple(make_image(engine, f"slipway-test/{name}:1", name) for name in ("first", "second"))
    yield made[0], made[1]
    for name in made:
        engine.untag(name)


@pytest.fixture
def served(engine: Engine) -> Iterator[Mirror]:
    with mirror(engine) as running:
        yield running
    engine.untag(TARGET)


def settings_with(folder: Path, pin: str) -> Settings:
    (folder / "cluster").mkdir(exist_ok=True)
    (folder / "cluster" / "versions.toml").write_text(f'[pull]\nthing = "{pin}"\n')
    return Settings(folder, folder / "home", "test", folder / "cluster" / "versions.toml")


def fetch(settings: Settings, engine: Engine, served: Mirror) -> pull.Pulled:
    return pull.image(settings, engine, "thing", target=TARGET, phase=Phase("pull"), environ={pull.MIRROR: served.host})


def test_an_image_pinned_by_digest_comes_from_the_mirror_under_our_name(
    engine: Engine, served: Mirror, images: tuple[str, str], tmp_path: Path
) -> None:
    digest = served.publish(images[0], UPSTREAM)
    settings = settings_with(tmp_path, f"{UPSTREAM}@{digest}")
    assert fetch(settings, engine, served) == pull.Pulled(digest, "pinned")
    assert engine.image_id(TARGET) == engine.image_id(images[0])
    assert not (tmp_path / "home" / "trust.json").exists()


def test_an_image_that_the_mirror_does_not_have_by_the_pinned_digest_is_refused(
    engine: Engine, served: Mirror, images: tuple[str, str], tmp_path: Path
) -> None:
    served.publish(images[1], UPSTREAM)
    settings = settings_with(tmp_path, f"{UPSTREAM}@sha256:{'0' * 64}")
    with pytest.raises(EngineError, match="not found"):
        fetch(settings, engine, served)
    assert not engine.has_image(TARGET)


def test_an_image_without_a_digest_is_trusted_once_and_its_change_is_refused(
    engine: Engine, served: Mirror, images: tuple[str, str], tmp_path: Path
) -> None:
    settings = settings_with(tmp_path, UPSTREAM)
    first = served.publish(images[0], UPSTREAM)
    assert fetch(settings, engine, served) == pull.Pulled(first, "first use")
    assert json.loads((tmp_path / "home" / "trust.json").read_text())[UPSTREAM]["digest"] == first
    assert fetch(settings, engine, served) == pull.Pulled(first, "recorded")

    second = served.publish(images[1], UPSTREAM)
    with pytest.raises(PinMismatch) as refused:
        fetch(settings, engine, served)
    assert first in str(refused.value) and second in str(refused.value) and "trust.json" in str(refused.value)
    assert engine.image_id(TARGET) == engine.image_id(images[0])


def test_pulling_leaves_nothing_but_our_own_name(engine: Engine, served: Mirror, images: tuple[str, str], tmp_path: Path) -> None:
    digest = served.publish(images[0], UPSTREAM)
    fetch(settings_with(tmp_path, UPSTREAM), engine, served)
    assert not engine.has_image(f"{served.host}/docker.io/library/thing@{digest}")


def test_a_mirror_that_answers_makes_auto_choose_pull(served: Mirror) -> None:
    assert pull.probe(served.host) == ""


def test_a_registry_that_is_not_there_is_said_so() -> None:
    assert "refused" in pull.probe("127.0.0.1:9")


def test_a_tool_is_downloaded_from_a_mirror_and_held_to_its_sum(tmp_path: Path) -> None:
    content = b"#!/bin/sh\necho v1.2.3\n"
    served = tmp_path / "served" / "tools.example" / "v1.2.3"
    served.mkdir(parents=True)
    (served / "thing").write_bytes(content)
    pins = tmp_path / "pins.toml"
    pins.write_text(
        f"""[versions]
thing = "1.2.3"
[tools.thing]
pin = "thing"
url = "https://tools.example/v{{version}}/thing"
sha256 = {{ "{FACTS.system}/{FACTS.architecture}" = "{hashlib.sha256(content).hexdigest()}" }}
"""
    )
    settings = Settings(tmp_path, tmp_path / "home", "test", pins)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer((ports.LOOPBACK, 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environ = {tools.MIRROR: f"http://{ports.LOOPBACK}:{server.server_port}"}
        target = tools.download(settings, "thing", target=tmp_path / "bin" / "thing", phase=Phase("x"), environ=environ)
        assert shell.run([target]).stdout == "v1.2.3\n"

        (served / "thing").write_bytes(content + b"# changed\n")
        with pytest.raises(PinMismatch):
            tools.download(settings, "thing", target=tmp_path / "other", phase=Phase("x"), environ=environ)
        server.shutdown()
    assert not (tmp_path / "other").exists()
