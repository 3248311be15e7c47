"""When the environment is made: by what `./invoke` and bootstrap.py find, without making one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bootstrap
from slipway.settings import ROOT

MINOR = f"python{sys.version_info.major}.{sys.version_info.minor}"


def checkout(folder: Path, *, made_by: str) -> Path:
    """A checkout whose environment was made by such a Python, and has this one now; its parts only say that they ran."""
    shutil.copy2(ROOT / "invoke", folder / "invoke")
    for part in ("bootstrap", "cli"):
        (folder / f"{part}.py").write_text(f"print({part!r})\n")
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "python").symlink_to(Path(sys.executable).resolve())
    (folder / ".venv" / "lib" / made_by / "site-packages").mkdir(parents=True)
    for place in (folder, folder / ".venv"):
        (place / bootstrap.RUNTIME).write_text("lock\n")
        (place / bootstrap.EVERYTHING).write_text("everything\n")
    return folder


def ran(folder: Path) -> list[str]:
    done = subprocess.run([folder / "invoke"], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.split()


def test_an_environment_of_its_own_python_is_taken_as_it_is(tmp_path: Path) -> None:
    assert ran(checkout(tmp_path, made_by=MINOR)) == ["cli"]


def test_an_environment_that_another_minor_version_of_python_made_is_seen_to_first(tmp_path: Path) -> None:
    assert ran(checkout(tmp_path, made_by="python3.0")) == ["bootstrap", "cli"]


@pytest.mark.parametrize("lock", [bootstrap.RUNTIME, bootstrap.EVERYTHING])
def test_what_another_python_installed_is_not_installed_whatever_the_stamp_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lock: str
) -> None:
    folder = checkout(tmp_path, made_by=MINOR)
    home = Path(sys.executable).resolve().parent
    (folder / ".venv" / "pyvenv.cfg").write_text(f"home = {home}\ninclude-system-site-packages = false\n")
    monkeypatch.setattr(bootstrap, "ROOT", folder)
    monkeypatch.setattr(bootstrap, "VENV", folder / ".venv")
    monkeypatch.setattr(bootstrap, "PYTHON", folder / ".venv" / "bin" / "python")
    packages = folder / ".venv" / "lib" / MINOR / "site-packages"
    (packages / "pip.py").touch()
    assert bootstrap.installed(lock)
    packages.parent.rename(packages.parent.with_name("python3.0"))
    assert not bootstrap.installed(lock)
