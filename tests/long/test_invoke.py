"""./invoke in a copy of its own: it makes an environment, keeps it, mends it, and is never in its own way."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from slipway.settings import ROOT
from slipway.waiting import Pending, Ready, wait_for

FILES = ("invoke", "bootstrap.py", "cli.py", "tasks.py", "requirements.txt", "requirements-dev.txt", "slipway", "cluster")
TIMEOUT = 600.0


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout without an environment, in a folder with a space in its name."""
    folder = tmp_path_factory.mktemp("a checkout")
    for name in FILES:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, folder / name)
    return folder


def invoke(
    checkout: Path, *words: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "invoke", *words], cwd=cwd, env=env, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )


def listed(result: subprocess.CompletedProcess[str]) -> bool:
    return result.returncode == 0 and "  up " in result.stdout


def test_an_interrupted_making_is_taken_up_and_two_at_once_wait_for_each_other(checkout: Path) -> None:
    first = subprocess.Popen([checkout / "invoke", "--list"], stderr=subprocess.PIPE, text=True, start_new_session=True)
    pip = checkout / ".venv" / "bin" / "pip"
    wait_for("the environment to be begun", lambda: Ready(None) if pip.exists() else Pending("no pip yet"), timeout=120)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert not (checkout / ".venv" / "requirements.txt").exists()
    both = [
        subprocess.Popen([checkout / "invoke", "--list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=TIMEOUT) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert all("  up " in out for out, _ in said)
    assert sum("Installed in" in err for _, err in said) == 1
    assert sum("waiting for it" in err for _, err in said) == 1


def test_once_made_it_says_nothing_of_its_own_and_works_from_anywhere(checkout: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(os.path.relpath(checkout / "invoke", tmp_path))
    again = tmp_path / "again"
    again.symlink_to(link)
    for program in (checkout / "invoke", link, again):
        result = subprocess.run([program, "--list"], cwd="/", capture_output=True, text=True, timeout=TIMEOUT, check=False)
        assert listed(result)
        assert result.stderr == ""


def test_its_exit_code_and_arguments_are_those_of_the_task(checkout: Path) -> None:
    result = invoke(checkout, "status", "--name", "Not A Name")
    assert result.returncode == 2
    assert "'Not A Name' cannot be an instance's name" in result.stderr


def test_a_package_that_no_lock_names_goes_and_one_that_is_gone_comes_back(checkout: Path) -> None:
    python = checkout / ".venv" / "bin" / "python"
    packages = next((checkout / ".venv" / "lib").glob("python*/site-packages"))
    shutil.rmtree(packages / "yaml")
    stray = packages / "stray-1.0.dist-info"
    stray.mkdir()
    (stray / "METADATA").write_text("Metadata-Version: 2.1\nName: stray\nVersion: 1.0\n")
    (stray / "RECORD").write_text("stray-1.0.dist-info/METADATA,,\nstray-1.0.dist-info/RECORD,,\n")
    lock = checkout / "requirements.txt"
    text = lock.read_text()
    kept = "\n".join(line for line in text.splitlines() if line) + "\n"
    lock.write_text(kept.replace("# This file", "# Changed. This file"))
    shutil.rmtree(next(packages.glob("[Pp]y[Yy][Aa][Mm][Ll]-*.dist-info")))
    assert listed(invoke(checkout, "--list"))
    assert not stray.exists()
    subprocess.run([python, "-c", "import yaml"], check=True, timeout=60)


def test_an_environment_whose_python_is_gone_is_made_anew(checkout: Path) -> None:
    python = checkout / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/gone/python3")
    assert listed(invoke(checkout, "--list"))


def test_an_environment_that_another_minor_version_of_python_made_is_made_anew(checkout: Path) -> None:
    packages = next((checkout / ".venv" / "lib").glob("python*"))
    packages.rename(packages.with_name("python3.0"))
    result = invoke(checkout, "--list")
    assert listed(result)
    assert "Installed in" in result.stderr
    assert not packages.with_name("python3.0").exists()


def test_a_file_that_is_not_what_the_lock_says_is_refused_and_said(checkout: Path) -> None:
    lock = checkout / "requirements.txt"
    good = lock.read_text()
    lock.write_text("invoke==3.0.3 --hash=sha256:" + "0" * 64 + "\n")
    shutil.rmtree(next((checkout / ".venv" / "lib").glob("python*/site-packages/invoke")))
    for info in (checkout / ".venv" / "lib").glob("python*/site-packages/invoke-*.dist-info"):
        shutil.rmtree(info)
    refused = invoke(checkout, "--list")
    lock.write_text(good)
    assert refused.returncode == 1
    assert "the environment could not be made" in refused.stderr
    assert listed(invoke(checkout, "--list"))


def test_without_a_python_that_is_new_enough_it_says_what_to_install(checkout: Path, tmp_path: Path) -> None:
    for name in ("sh", "readlink", "dirname", "cmp"):
        (tmp_path / name).symlink_to(shutil.which(name) or pytest.fail(f"{name} is not here"))
    for name in ("python3", "python3.11", "python3.12", "python3.13", "python3.14"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    script = (ROOT / "invoke").read_text().replace("/usr/bin/python3", "")
    (fresh / "invoke").write_text(script)
    (fresh / "invoke").chmod(0o755)
    (fresh / "requirements.txt").touch()
    result = invoke(fresh, "--list", env={"PATH": str(tmp_path)})
    assert result.returncode == 1
    assert result.stderr.startswith("error: no Python 3.11 or newer")
    assert "apt-get install python3" in result.stderr
