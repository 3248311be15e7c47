from __future__ import annotations

from pathlib import Path

import pytest

from slipway import images, target
from slipway.errors import UsageError
from slipway.target import Target


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("registry.example.com", Target("registry.example.com", "", secure=False)),
        ("registry.example.com:5000/team/shop/", Target("registry.example.com:5000", "/team/shop", secure=False)),
        ("https://registry.example.com/shop", Target("registry.example.com", "/shop", secure=False)),
        ("docker.io/user", Target("docker.io", "/user", secure=False)),
        ("localhost:5001", Target("localhost:5001", "", secure=False)),
        ("https://localhost:5001", Target("localhost:5001", "", secure=True)),
        ("https://127.0.0.1:5200/x", Target("127.0.0.1:5200", "/x", secure=True)),
        ("1234.dkr.ecr.eu-central-1.amazonaws.com", Target("1234.dkr.ecr.eu-central-1.amazonaws.com", "", secure=False)),
    ],
)
def test_a_registry_is_named_by_host_port_and_prefix(given: str, found: Target) -> None:
    assert target.find(given, environ={}) == found


@pytest.mark.parametrize(
    "given",
    ["shop", "shop/team", "http://registry.example.com", "registry.example.com/Shop", "user:password@registry.example.com", "/"],
)
def test_what_is_no_registry_or_would_be_spoken_to_in_the_clear_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match="names no registry") as refused:
        target.find(given, environ={})
    assert "password" not in str(refused.value)


def test_the_setting_is_taken_where_no_flag_is_given_and_its_prefix_is_its_own() -> None:
    environ = {target.REGISTRY: "registry.example.com/", target.PREFIX: "/team/shop/"}
    assert target.find("", environ=environ).repository("cart") == "registry.example.com/team/shop/cart"
    assert target.find("other.example.com", environ=environ).repository("cart") == "other.example.com/cart"


@pytest.mark.parametrize("environ", [{}, {target.REGISTRY: ""}, {target.REGISTRY: "", target.PREFIX: "shop"}])
def test_no_registry_is_guessed(environ: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="SLIPWAY_REGISTRY"):
        target.find("", environ=environ)


def test_a_file_of_certificates_that_holds_none_is_named(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("nothing")
    with pytest.raises(UsageError, match=r"ca\.pem cannot be read"):
        target.sign_in(target.find("registry.example.com", environ={}), environ={images.CA_BUNDLE: str(file)})
