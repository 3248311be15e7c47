"""The inner loop with the real Tilt: what is saved is served, what is broken is told and mended, and nobody else notices."""

from __future__ import annotations

import re
import secrets
from collections.abc import Generator
from pathlib import Path

import pytest
import yaml

from slipway import names
from tests.browser import browser, screenshot
from tests.e2e import delivering, developing, ledger, tilting
from tests.e2e.conftest import Instance
from tests.e2e.developing import Workspace
from tests.e2e.tilting import REBUILD_TIMEOUT, Loop
from tests.e2e.train import FOLLOWED, passed

UNRELATED = (
    "services/cart/README.md",
    "services/cart/test/test_token.py",
    "services/cart/__pycache__/token.pyc",
    "README.md",
    ".git/token",
)

SERVICES = ("cart", "catalog", "orders", "storefront")


@pytest.fixture(scope="module")
def running(instance: Instance, tmp_path_factory: pytest.TempPathFactory) -> Generator[Loop]:
    """`./invoke dev`, started once for all of these tests."""
    with tilting.running(instance, tilting.clone(tmp_path_factory.mktemp("dev"))) as made:
        yield made


@pytest.fixture
def loop(running: Loop) -> Generator[Loop]:
    """The running loop, whose working tree is as it was committed before and after each test."""
    yield running
    running.reset()


@pytest.fixture
def token() -> str:
    """A text that nobody has served before."""
    return f"Saved {secrets.token_hex(4)}."


@pytest.mark.parametrize("service", SERVICES)
def test_a_saved_file_of_any_service_is_served_by_the_same_container(loop: Loop, service: str, token: str) -> None:
    before = loop.pods()[service]
    loop.describe(service, token)
    loop.served(service, token)
    assert loop.pods()[service] == before, "no image was built, and nothing was restarted"


def test_a_saved_page_is_seen_in_the_browser(loop: Loop, token: str) -> None:
    loop.replace("services/storefront/templates/base.html", "Fair winds, dry socks.", token)
    loop.until("the page to show it", lambda: loop.ask("storefront").body, lambda body: token in body)
    with browser() as chromium, chromium.page(loop.url("storefront")) as page:
        assert page.get_by_text(token).is_visible()
        assert page.locator(".badge").inner_text().lower() == names.LOCAL
        screenshot(page, "local")


def test_a_syntax_error_is_told_while_the_former_answer_is_served_and_the_next_save_mends_it(loop: Loop, token: str) -> None:
    before, begun = loop.pods()["catalog"], len(loop.said())
    former = loop.description("catalog")
    main = loop.file("services/catalog/main.py")
    good = main.read_text()
    main.write_text(good + "\ndef broken(:\n")
    loop.says("SyntaxError", after=begun)
    assert loop.description("catalog") == former
    main.write_text(good)
    loop.describe("catalog", token)
    loop.served("catalog", token)
    assert loop.pods()["catalog"] == before, "the pod mended itself; nobody restarted it"


def test_a_service_that_fails_as_it_starts_is_told_with_its_reason(loop: Loop, token: str) -> None:
    former, begun = loop.description("cart"), len(loop.said())
    main = loop.file("services/cart/main.py")
    good = main.read_text()
    first = "from __future__ import annotations\n"
    assert first in good
    main.write_text(good.replace(first, f"{first}raise SystemExit('{token}')\n", 1))
    loop.says(token, after=begun)
    assert loop.description("cart") == former
    main.write_text(good)


def test_the_shared_package_is_updated_in_every_service(loop: Loop, token: str) -> None:
    before = loop.pods()
    loop.replace("services/chassis/service.py", '"""Says what runs, and where."""', f'"""{token}"""')
    for service in SERVICES:
        loop.until(
            f"{service} to have the package",
            lambda service=service: loop.ask(service, "/openapi.json").json["paths"]["/version"]["get"].get("description", ""),
            lambda said: said == token,
        )
    assert loop.pods() == before


def test_files_that_are_not_the_services_trigger_nothing(loop: Loop, token: str) -> None:
    before, begun = loop.pods(), len(loop.said())
    for name in UNRELATED:
        file = loop.file(name)
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"# {token}\n")
    loop.describe("catalog", token)  # what is saved after them is seen after them
    loop.served("catalog", token)
    told = loop.said()[begun:]
    assert loop.pods() == before
    for service in ("cart", "orders", "storefront"):
        assert not re.search(rf"^\s*{service}\s*│.*(?:Updating|updated|Building|Will copy|STEP)", told, re.MULTILINE), told


def test_changed_requirements_are_installed(loop: Loop, token: str) -> None:
    taken = _requirement(loop.file("services/cart/requirements.txt").read_text(), "valkey")
    assert "valkey" not in loop.file("services/catalog/requirements.txt").read_text()
    before = loop.pods()["catalog"]
    locked = loop.file("services/catalog/requirements.txt")
    locked.write_text(f"{locked.read_text()}{taken}")
    loop.replace("services/catalog/main.py", "from pathlib import Path\n", "from pathlib import Path\nimport valkey\n")
    loop.describe("catalog", token)
    loop.served("catalog", token, timeout=REBUILD_TIMEOUT)
    assert loop.pods()["catalog"] != before, "another image runs"


def test_a_changed_value_of_the_chart_is_applied(loop: Loop, token: str) -> None:
    file = loop.file("services/catalog/envs/local.yaml")
    told = yaml.safe_load(loop.file("services/catalog/envs/dev.yaml").read_text())
    file.write_text(yaml.safe_dump({**told, "notice": token}))
    loop.until("the notice", lambda: loop.ask("catalog").json["notice"], lambda said: said == token, timeout=REBUILD_TIMEOUT)


def test_a_changed_recipe_builds_the_image_anew(loop: Loop, token: str) -> None:
    before = loop.pods()["orders"]
    loop.replace("services/Dockerfile", "ENV SLIPWAY_VERSION=live", f'LABEL token="{token}"\nENV SLIPWAY_VERSION=live')
    loop.until("another pod of orders", loop.pods, lambda pods: pods.get("orders", before) != before, timeout=REBUILD_TIMEOUT)
    loop.until("orders to serve", lambda: loop.ask("orders", "/readyz").status, lambda code: code == 200, timeout=REBUILD_TIMEOUT)


def test_a_promotion_to_dev_and_prod_goes_through_undisturbed_and_nothing_of_local_is_recorded(
    loop: Loop, instance: Instance, tmp_path: Path, token: str
) -> None:
    loop.describe("catalog", token)
    loop.served("catalog", token)
    written, pods = loop.written(), loop.pods()
    branch, work = f"feature/beside-{secrets.token_hex(3)}", Workspace.clone(instance, tmp_path / "work")
    work.touch("catalog")
    work.commit("Change catalog")
    passed(instance, work.push(branch, options=["deploy=dev"]), branch)
    instance.invoke("merge", branch, timeout=FOLLOWED)
    tip = Workspace.clone(instance, tmp_path / "merged").head
    passed(instance, tip, "develop")
    version = developing.next_release(instance)
    instance.invoke("release.cut", version, timeout=FOLLOWED)
    passed(instance, tip, f"release/v{version}")
    instance.invoke("approve", f"v{version}", "--user", "lead")
    instance.invoke("promote", "prod", "--release", f"v{version}", timeout=FOLLOWED)
    seen = ledger.look(instance)
    assert seen.records["prod", "catalog"].release == f"v{version}"
    assert seen.records["prod", "catalog"].digest == seen.records["stage", "catalog"].digest
    assert loop.description("catalog") == token, "local still serves what was saved"
    assert (loop.written(), loop.pods()) == (written, pods), "nobody wrote to local meanwhile"
    for repository in ("gitops-nonprod", "gitops-prod"):
        _, entries = delivering.read(instance, repository)
        assert names.LOCAL not in {environment for environment, _ in entries}
    applications = instance.kube.list("Application", namespace="argocd", api_version="argoproj.io/v1alpha1")
    assert names.LOCAL not in {item["spec"]["destination"]["namespace"] for item in applications}


def _requirement(locked: str, name: str) -> str:
    """What a lock says of one package, with its hashes."""
    found = re.search(rf"^{name}==.*?(?=^\S)", locked + "\nend", re.MULTILINE | re.DOTALL)
    assert found, name
    return "\n".join(line for line in found[0].splitlines() if not line.lstrip().startswith("#")) + "\n"
