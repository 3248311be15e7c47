"""The tests that lie with each service, and with the package they share, in the environment they belong to."""

from __future__ import annotations

import sys

import pytest

from slipway import shell
from slipway.settings import ROOT
from tests.services import conftest, environments

# The shared package is tested with what the first service brings; every service brings at least what the package needs.
FOLDERS = [("chassis", conftest.SERVICES[0]), *((service, service) for service in conftest.SERVICES)]


@pytest.mark.parametrize(("folder", "service"), FOLDERS, ids=[folder for folder, _ in FOLDERS])
def test_its_own_tests_pass(folder: str, service: str) -> None:
    home = environments.SERVICES / folder
    report = ROOT / "build" / "reports" / f"services-{folder}.xml"
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
        env={"PYTHONPATH": f"{environments.SERVICES}:{home}", "PYTHONDONTWRITEBYTECODE": "1"},
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
        environments.python(conftest.SERVICES[0]),
    ]
    result = shell.run(argv, check=False)
    print(result.stdout, result.stderr)
    assert result.code == 0
