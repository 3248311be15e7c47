from __future__ import annotations

import hashlib
import json
from pathlib import Path

from slipway.address import addresses


def context(home: Path, name: str, host: str | None) -> None:
    folder = home / ".docker" / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
    folder.mkdir(parents=True)
    endpoints = {"docker": {"Host": host}} if host else {}
    (folder / "meta.json").write_text(json.dumps({"Name": name, "Endpoints": endpoints}))


def test_docker_host_alone_decides() -> None:
    (found,) = addresses({"DOCKER_HOST": "tcp://box:2375", "DOCKER_CONTEXT": "colima", "HOME": "/nowhere"})
    assert (found.url, found.chosen, found.usual) == ("tcp://box:2375", "DOCKER_HOST", False)
    assert found.environment == {"DOCKER_HOST": "tcp://box:2375"}


def test_tls_files_are_used_only_when_docker_would_use_them() -> None:
    given = {"DOCKER_HOST": "tcp://box:2376", "DOCKER_CERT_PATH": "/certs"}
    assert addresses(given)[0].tls is None
    assert addresses({**given, "DOCKER_TLS_VERIFY": "1"})[0].tls == Path("/certs")


def test_the_current_docker_context_decides_without_docker_host(tmp_path: Path) -> None:
    context(tmp_path, "colima", "unix:///colima.sock")
    (tmp_path / ".docker" / "config.json").write_text('{"currentContext": "colima"}')
    (found,) = addresses({"HOME": str(tmp_path)})
    assert (found.url, found.chosen) == ("unix:///colima.sock", "the docker context colima")
    assert found.environment == {"DOCKER_CONTEXT": "colima"}


def test_the_context_in_the_environment_comes_before_the_current_one(tmp_path: Path) -> None:
    context(tmp_path, "orbstack", "unix:///orbstack.sock")
    (tmp_path / ".docker" / "config.json").write_text('{"currentContext": "colima"}')
    assert addresses({"HOME": str(tmp_path), "DOCKER_CONTEXT": "orbstack"})[0].url == "unix:///orbstack.sock"


def test_a_context_that_is_not_there_names_no_engine(tmp_path: Path) -> None:
    (found,) = addresses({"HOME": str(tmp_path), "DOCKER_CONTEXT": "gone"})
    assert (found.url, found.chosen) == ("", "the docker context gone")


def test_otherwise_the_usual_places_are_tried_in_order(tmp_path: Path) -> None:
    found = addresses({"HOME": str(tmp_path), "XDG_RUNTIME_DIR": "/run/user/7"})
    assert [place.url for place in found] == [
        "unix:///var/run/docker.sock",
        f"unix://{tmp_path}/.docker/run/docker.sock",
        "unix:///run/user/7/docker.sock",
    ]
    assert found[0].usual and not found[0].chosen


def test_a_damaged_docker_configuration_says_nothing(tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text("{")
    assert len(addresses({"HOME": str(tmp_path)})) == 2
