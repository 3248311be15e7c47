"""The tests that lie with each service, and with the package they share, in the environment they belong to."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from slipway import shell
from slipway.settings import ROOT
from tests.services import conftest, environments
from tests.services.running import NOTHING, told
from tests.services.surroundings import Neighbourhood

# The shared package is tested with what the first service brings; every service brings at least what the package needs.
FOLDERS = [("chassis", conftest.SERVICES[0]), *((service, service) for service in conftest.SERVICES)]


@pytest.mark.parametrize(("folder", "service"), FOLDERS, ids=[folder for folder, _ in FOLDERS])
def test_its_own_tests_pass(folder: str, service: str, neighbourhood: Neighbourhood, tmp_path: Path) -> None:
    home = environments.SERVICES / folder
    report = ROOT / "build" / "reports" / f"services-{folder}.xml"
    # What is shared keeps nothing; a service gets its real stores, empty, and a configuration that names the services it calls.
    made = neighbourhood.surroundings(folder) if folder == service else NOTHING
    variables = told(service, tmp_path, made)
    result = shell.run(
        [
            environments.python(service),
            "-m",
            "pytest",
            home / "test",
            "-c",
            environments.SERVICES / "pytest.ini",
            f"--junitxml={report}",
        ],
        env={
            **made.variables,
            **{name: variables[name] for name in ("SLIPWAY_CONFIG", "SLIPWAY_ENVIRONMENT")},
            "PYTHONPATH": f"{environments.SERVICES}:{home}",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        cwd=environments.SERVICES,
        check=False,
    )
    print(result.stdout, result.stderr)
    assert result.code == 0


def test_their_types_hold() -> None:
    argv = [
        sys.executable,
        "-m",
        "pyright",
        "-p",
        environments.SERVICES,
        "--pythonpath",
        environments.python(*conftest.SERVICES),
    ]
    result = shell.run(argv, check=False)
    print(result.stdout, result.stderr)
    assert result.code == 0
