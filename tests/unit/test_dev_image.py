"""The image of the inner loop, as services/Dockerfile has it, and what is said of it elsewhere."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from slipway import engine, names
from slipway.dev import told
from slipway.settings import ROOT


def stage(name: str) -> dict[str, str]:
    """The last instruction of each kind in a stage of the recipe."""
    text = (ROOT / "services" / "Dockerfile").read_text().replace("\\\n", " ")
    parts = re.split(r"^FROM ", text, flags=re.MULTILINE)
    [found] = [part for part in parts if part.partition("\n")[0].endswith(f" AS {name}")]
    lines = [line.partition(" ") for line in found.splitlines() if line and not line.startswith("#")]
    return {instruction: rest for instruction, _, rest in lines}


def test_saved_files_and_the_call_to_reload_go_where_the_container_looks_for_them() -> None:
    words = json.loads(stage("live")["ENTRYPOINT"])
    assert words[words.index("serve") + 2 :] == [told.COPY, told.CONTROL]
    assert told.RELOAD[-2:] == ("reload", told.CONTROL)


def test_it_is_known_as_ours_whatever_tilt_calls_it() -> None:
    assert stage("live")["LABEL"] == f"{names.OWNER_LABEL}={names.OWNER}"


@pytest.mark.parametrize("name", ["main.py~", "#main.py#", ".#main.py", ".main.py.swp", "4913", "test/test_it.py", "README.md"])
def test_what_is_not_the_services_and_what_editors_leave_is_no_part_of_it(tmp_path: Path, name: str) -> None:
    shutil.copy(ROOT / "services" / ".dockerignore", tmp_path)
    for file in ("cart/main.py", f"cart/{name}"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    assert set(engine.context_files(tmp_path)) == {".dockerignore", "cart/main.py"}
