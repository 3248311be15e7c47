"""A service that `./invoke new.service` made a moment ago, in a copy of the checkout, held to what all services are held to."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Generator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from slipway import helm, records, requirements, scaffold, shell
from slipway.settings import ROOT, Settings, load
from tests.charts import openapi
from tests.programs import program

NAME = "gift-cards"

# What a checkout holds beside what Git keeps; and this test, which would begin all over again.
LEFT_OUT = shutil.ignore_patterns(".*_cache", ".git", ".venv", ".hypothesis", "__pycache__", "build", Path(__file__).name)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Generator[Settings]:
    """A copy of the checkout with one service more."""
    root = tmp_path_factory.mktemp("copy") / "checkout"
    shutil.copytree(ROOT, root, ignore=LEFT_OUT)
    (ROOT / "build" / "venvs").mkdir(parents=True, exist_ok=True)
    (root / "build").mkdir()
    (root / "build" / "venvs").symlink_to(ROOT / "build" / "venvs")
    scaffold.new_service(Settings(root, root / "home", "slipway"), NAME)
    yield Settings(root, root / "home", "slipway")
    shutil.rmtree(root)


def run(copy: Settings, *words: str) -> shell.Result:
    result = shell.run([sys.executable, "-m", *words], cwd=copy.root, check=False, timeout=900)
    print(result.stdout, result.stderr)
    return result


def test_it_keeps_the_promises_of_every_service_and_its_own_tests_pass(copy: Settings) -> None:
    report = copy.root / "report.xml"
    # Whatever is asked of each service, wherever that stands.
    places = ["tests/services", "tests/charts/test_drain.py"]
    result = run(copy, "pytest", *places, "-q", "-k", NAME, "-p", "no:cacheprovider", f"--junitxml={report}")
    assert result.code == 0
    cases = {str(case.get("name")): case for case in ElementTree.parse(report).getroot().iter("testcase")}
    assert not [name for name, case in cases.items() if case.find("skipped") is not None]
    assert f"test_its_own_tests_pass[{NAME}]" in cases
    files = {str(case.get("classname")).rpartition(".")[2] for case in cases.values()}
    assert {"test_contract", "test_bad_input", "test_drain", "test_faults", "test_surroundings"} <= files
    assert {f"test_a_pod_is_not_killed_while_it_drains[{NAME}-{name}]" for name in load().environments} <= set(cases)


def test_its_types_hold(copy: Settings) -> None:
    words = f"from tests.services import environments; print(environments.python({NAME!r}))"
    interpreter = shell.run([sys.executable, "-c", words], cwd=copy.root, timeout=900).stdout.strip()
    found = json.loads(run(copy, "pyright", "-p", "services", "--pythonpath", interpreter, "--outputjson").stdout)
    assert found["summary"]["filesAnalyzed"] > 0
    own = f"{copy.root}/services/{NAME}/"
    assert [item["message"] for item in found["generalDiagnostics"] if item["file"].startswith(own)] == []


def test_the_linters_find_no_more_than_without_it(copy: Settings) -> None:
    check = ("ruff", "check", "--no-cache", "--quiet", "--output-format=concise", ".")
    folder, aside = copy.root / "services" / NAME, copy.root / "aside"
    found = run(copy, *check).stdout
    folder.rename(aside)
    without = run(copy, *check, "--exclude", aside.name).stdout
    aside.rename(folder)
    assert found == without
    assert run(copy, "ruff", "format", "--check", "--no-cache", f"services/{NAME}").code == 0


def test_locking_everything_anew_leaves_its_lock_as_it_is(copy: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def there(root: Path) -> None:
        """What locks is in the environment that runs this test."""

    monkeypatch.setattr(requirements, "install_for_tests", there)
    lock = copy.root / "services" / NAME / "requirements.txt"
    before = lock.read_text()
    assert f"services/{NAME}/requirements.txt" in requirements.lock(copy)
    assert lock.read_text() == before


@pytest.mark.parametrize("environment", load().environments)
def test_the_chart_takes_it_in_every_environment(copy: Settings, environment: str) -> None:
    source = records.Source(copy.root, "0" * 40)
    helm.lint(source.chart(), helm=program("helm"), values={**source.values(NAME, environment), **identity(environment)})
    entry = records.render(
        records.Record(environment, NAME, "0.1.0", f"localhost:5001/{NAME}", f"sha256:{'a' * 64}", source.commit),
        source.values(NAME, environment),
        tier=copy.environment(environment).tier,
        chart=source.chart(),
        helm_program=program("helm"),
        kubernetes=copy.versions["versions"]["kubernetes"],
    )
    objects = [dict(item) for item in entry.manifests]
    assert {"Deployment", "Service", "ConfigMap"} <= {item["kind"] for item in objects}
    assert {item["metadata"]["name"] for item in objects if item["kind"] == "Deployment"} == {NAME}
    assert not [errors for item in objects if (errors := openapi.description().errors(item))]


def identity(environment: str) -> dict[str, object]:
    image = {"repository": f"localhost:5001/{NAME}", "digest": f"sha256:{'a' * 64}"}
    return {"service": NAME, "environment": environment, "image": image}
