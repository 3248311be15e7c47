from __future__ import annotations

from pathlib import Path

import pytest

from chassis import Config, ConfigError, load


class Shop(Config):
    page_size: int = 20


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def refusal(file: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(Shop, file)
    return str(caught.value)


def test_what_is_told_replaces_the_defaults(file: Path) -> None:
    file.write_text("page_size: 5\n")
    assert load(Shop, file) == Shop(page_size=5)


def test_an_empty_file_means_the_defaults(file: Path) -> None:
    file.write_text("# nothing yet\n")
    assert load(Shop, file) == Shop()


def test_an_unknown_key_is_refused_with_the_known_ones(file: Path) -> None:
    file.write_text("page_sise: 5\n")
    said = refusal(file)
    assert "page_sise: Extra inputs are not permitted" in said
    assert "drain_seconds" in said
    assert "page_size" in said


def test_every_wrong_key_is_named_at_once(file: Path) -> None:
    file.write_text("page_size: many\nlog_level: loud\nfaults: [{ratio: 2}]\n")
    said = refusal(file)
    assert all(name in said for name in ("page_size: ", "log_level: ", "faults.0.ratio: "))


def test_a_file_that_is_not_there_is_named(file: Path) -> None:
    said = refusal(file)
    assert str(file) in said
    assert "SLIPWAY_CONFIG" in said


@pytest.mark.parametrize("text", ["a: [", "a: b: c", "\tx: 1"])
def test_what_is_not_yaml_is_refused_in_one_line(file: Path, text: str) -> None:
    file.write_text(text)
    said = refusal(file)
    assert "is not YAML" in said
    assert "\n" not in said


@pytest.mark.parametrize("text", ["[1, 2]", "just words", "7"])
def test_what_holds_no_keys_is_refused(file: Path, text: str) -> None:
    file.write_text(text)
    assert "must hold keys and values" in refusal(file)


def test_yaml_that_would_make_objects_is_refused(file: Path) -> None:
    file.write_text("page_size: !!python/object/apply:os.getpid []\n")
    assert "is not YAML" in refusal(file)
