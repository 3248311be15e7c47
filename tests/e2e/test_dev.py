"""The inner loop with the real Tilt: what is saved is served, what is broken is told and mended, and nobody else notices."""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Generator
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import expect

from slipway import names, shell
from tests.browser import browser, screenshot
from tests.e2e import delivering, developing, ledger, sights, tilting
from tests.e2e.conftest import Instance
from tests.e2e.developing import Workspace
from tests.e2e.tilting import REBUILD_TIMEOUT, Loop
from tests.e2e.train import FOLLOWED, passed

UNRELATED = (
    "services/cart/README.md",
    "services/cart/test/test_token.py",
    "services/cart/__pycache__/token.pyc",
    *(f"services/cart/{name}" for name in ("main.py~", "#main.py#", ".#main.py", ".main.py.swp", "4913")),  # of editors
    "README.md",
    ".git/token",
)

SERVICES = ("cart", "catalog", "orders", "storefront")


@pytest.fixture(scope="module")
def running(instance: Instance, tmp_path_factory: pytest.TempPathFactory) -> Generator[Loop]:
    """`./invoke dev` as the README prints it, started once for all of these tests."""
    clone = tilting.clone(tmp_path_factory.mktemp("dev"))
    first = shlex.split(tilting.printed(clone)[0], comments=True)
    assert first[:2] == ["./invoke", "dev"]
    with tilting.running(instance, clone, *first[2:]) as made:
        yield made


@pytest.fixture
def loop(running: Loop) -> Generator[Loop]:
    """The running loop, whose working tree is as it was committed before and after each test."""
    yield running
    running.reset()


@pytest.fixture
def others(loop: Loop, instance: Instance) -> Generator[None]:
    """Nothing is written outside `local` while the test runs."""
    before = sights.delivered(instance)
    assert {name.split("/")[0] for name in before} == {"Application", *instance.settings.environments}
    yield
    assert sights.changed(before, sights.delivered(instance)) == set()


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


def test_the_inner_loop_as_the_readme_prints_it_shows_a_changed_page_in_the_browser(loop: Loop) -> None:
    _, second = tilting.printed(loop.clone)  # the first one runs
    text = "Saved a second ago."
    assert text in second
    assert text not in loop.ask("storefront").body
    shell.run(["bash", "-c", second], cwd=loop.clone)
    loop.until("the page to show it", lambda: loop.ask("storefront").body, lambda body: text in body)
    with browser() as chromium, chromium.page(loop.url("storefront")) as page:
        assert page.get_by_text(text).is_visible()
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


def test_tilts_own_page_names_everything_and_leads_to_the_shop(loop: Loop, instance: Instance) -> None:
    page_url = instance.json("status", check=False)["tilt"]
    with browser() as chromium, chromium.page(page_url) as page:
        plain = page.get_by_text("its page could not be made")
        shop = page.locator(f'a[href^="{loop.url("storefront")}"]')
        expect(plain.or_(shop).first).to_be_visible()
        if plain.count():
            pytest.skip(f"Tilt's own page could not be made here: {page.locator('pre').inner_text()}")
        for name in (*SERVICES, "orders-migrations", "test-catalog"):
            expect(page.get_by_text(name, exact=True).first).to_be_visible()
        screenshot(page, "tilt")


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


def test_a_module_that_is_removed_is_missed_and_comes_back(loop: Loop, token: str) -> None:
    former, begun = loop.description("catalog"), len(loop.said())
    module = loop.file("services/catalog/products.py")
    content = module.read_text()
    module.unlink()
    loop.says("No module named 'products'", after=begun)
    assert loop.description("catalog") == former
    module.write_text(content)
    loop.describe("catalog", token)
    loop.served("catalog", token)


def test_a_services_tests_run_when_they_are_triggered(loop: Loop) -> None:
    begun = len(loop.said())
    broken = loop.file("services/catalog/test/test_broken.py")
    broken.write_text("def test_that_is_broken() -> None:\n    assert False\n")
    loop.tilt("trigger", "test-catalog")
    loop.until("its tests to fail", lambda: loop.state("test-catalog"), lambda state: state == "error", timeout=REBUILD_TIMEOUT)
    loop.says("test_that_is_broken", after=begun)
    broken.unlink()
    loop.tilt("trigger", "test-catalog")
    loop.until("its tests to pass", lambda: loop.state("test-catalog"), lambda state: state == "ok", timeout=REBUILD_TIMEOUT)


def test_the_shared_package_is_updated_in_every_service(loop: Loop, others: None, token: str) -> None:
    del others
    before = loop.pods()
    loop.replace("services/chassis/service.py", '"""Says what runs, and where."""', f'"""{token}"""')
    for service in SERVICES:
        loop.until(
            f"{service} to have the package",
            lambda service=service: loop.ask(service, "/openapi.json").json["paths"]["/version"]["get"].get("description", ""),
            lambda said: said == token,
        )
    assert loop.pods() == before


@pytest.mark.long
def test_files_that_are_not_the_services_trigger_nothing(loop: Loop, token: str) -> None:
    before, begun = loop.pods(), len(loop.said())
    for name in UNRELATED:
        file = loop.file(name)
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"# {token}\n")
    loop.describe("catalog", token)  # what is saved after them is seen after them
    loop.served("catalog", token)
    told = loop.until("the stream to tell of it", lambda: loop.said()[begun:], lambda said: _noticed("catalog", said))
    assert loop.pods() == before
    assert [service for service in SERVICES if _noticed(service, told)] == ["catalog"], told


def test_changed_requirements_are_installed(loop: Loop, others: None, token: str) -> None:
    del others
    taken = _requirement(loop.file("services/cart/requirements.txt").read_text(), "valkey")
    assert "valkey" not in loop.file("services/catalog/requirements.txt").read_text()
    before = loop.pods()["catalog"]
    locked = loop.file("services/catalog/requirements.txt")
    with tilting.answering(loop, "catalog") as answers:
        locked.write_text(f"{locked.read_text()}{taken}")
        loop.replace("services/catalog/main.py", "from pathlib import Path\n", "from pathlib import Path\nimport valkey\n")
        loop.describe("catalog", token)
        loop.served("catalog", token, timeout=REBUILD_TIMEOUT)
    assert set(answers) == {"200"} and len(answers) > 5
    assert loop.pods()["catalog"] != before, "another image runs"


def test_code_that_does_not_start_in_a_new_image_is_kept_from_everybody_and_mended_in_the_same_pod(
    loop: Loop, token: str
) -> None:
    former, old = loop.description("catalog"), {pod["metadata"]["name"] for pod in loop.every("catalog")}
    main, locked = loop.file("services/catalog/main.py"), loop.file("services/catalog/requirements.txt")
    good = main.read_text()
    main.write_text(good.replace("TITLE =", f"raise SystemExit('{token}')\nTITLE =", 1))
    locked.write_text(f"{locked.read_text()}# {token}\n")
    new = loop.until(
        "a second pod",
        lambda: [pod["metadata"] for pod in loop.every("catalog") if pod["metadata"]["name"] not in old],
        lambda found: len(found) == 1,
        timeout=REBUILD_TIMEOUT,
    )[0]
    loop.until("its reason", lambda: loop.inside(new["name"], "/products"), lambda said: said.startswith("503") and token in said)
    assert loop.inside(new["name"], "/healthz").startswith("200")
    assert loop.description("catalog") == former, "the old pod serves"
    main.write_text(good)
    loop.describe("catalog", token)
    loop.served("catalog", token, timeout=REBUILD_TIMEOUT)
    loop.until("the old pod to go", loop.pods, lambda pods: pods["catalog"] == (new["uid"], 0))


@pytest.mark.long
def test_a_file_of_values_that_is_malformed_is_told_and_counts_once_it_is_mended(loop: Loop, others: None, token: str) -> None:
    del others
    begun, file = len(loop.said()), loop.file("services/catalog/envs/local.yaml")
    told = yaml.safe_load(loop.file("services/catalog/envs/dev.yaml").read_text())
    file.write_text("notice: [")
    loop.says("envs/local.yaml is no YAML", after=begun)
    assert loop.ask("catalog").status == 200
    file.write_text(yaml.safe_dump({**told, "notice": token}))
    # How it is run counts beside what it is told.
    loop.file("services/catalog/helm/local-values.yaml").write_text(yaml.safe_dump({"env": {"TOKEN": token}}))
    loop.until("the notice", lambda: loop.ask("catalog").json["notice"], lambda said: said == token, timeout=REBUILD_TIMEOUT)
    loop.until("the variable", lambda: str(loop.every("catalog")), lambda said: token in said, timeout=REBUILD_TIMEOUT)


def test_a_changed_recipe_builds_the_image_anew(loop: Loop, token: str) -> None:
    before = loop.pods()["orders"]
    with tilting.answering(loop, "catalog") as answers:  # the recipe is everybody's
        loop.replace("services/Dockerfile", "ENV SLIPWAY_VERSION=live", f'LABEL token="{token}"\nENV SLIPWAY_VERSION=live')
        loop.until("another pod of orders", loop.pods, lambda pods: pods.get("orders", before) != before, timeout=REBUILD_TIMEOUT)
        loop.settle()
    assert loop.ask("orders", "/readyz").status == 200
    assert set(answers) == {"200"} and len(answers) > 5


def test_a_promotion_to_dev_and_prod_goes_through_undisturbed_and_nothing_of_local_is_recorded(
    loop: Loop, instance: Instance, tmp_path: Path, token: str
) -> None:
    loop.describe("catalog", token)
    loop.served("catalog", token)
    loop.settle()
    before = sights.of(instance, names.LOCAL)
    kinds = {name.split("/")[1] for name in before}
    assert kinds >= {"ConfigMap", "Secret", "Service", "Pod", "Deployment", "StatefulSet", "Job"}
    with tilting.saving(loop, "catalog") as saved:
        _promote(instance, tmp_path)
    assert len(saved) > 5, "somebody worked on meanwhile"
    assert loop.description("catalog") == saved[-1]
    assert sights.changed(before, sights.of(instance, names.LOCAL)) == set(), "nobody else wrote to local meanwhile"
    for repository in ("gitops-nonprod", "gitops-prod"):
        _, entries = delivering.read(instance, repository)
        assert names.LOCAL not in {environment for environment, _ in entries}
    applications = instance.kube.list("Application", namespace="argocd", api_version="argoproj.io/v1alpha1")
    assert names.LOCAL not in {item["spec"]["destination"]["namespace"] for item in applications}


def test_whoever_wrote_to_local_would_be_noticed(loop: Loop, instance: Instance, token: str) -> None:
    meta = {"name": "somebody", "namespace": names.LOCAL}
    try:
        instance.kube.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"said": ""}})
        before = sights.of(instance, names.LOCAL)
        instance.kube.patch("ConfigMap", meta["name"], {"data": {"said": token}}, namespace=names.LOCAL)
        assert sights.changed(before, sights.of(instance, names.LOCAL)) == {"local/ConfigMap/somebody"}
    finally:
        instance.kube.delete("ConfigMap", meta["name"], namespace=names.LOCAL)
    assert sights.changed(before, sights.of(instance, names.LOCAL)) == {"local/ConfigMap/somebody"}, "one that is gone too"


@pytest.mark.long
def test_a_changed_chart_and_what_all_services_are_run_with_in_local_are_applied(loop: Loop) -> None:
    word, template = f"t{secrets.token_hex(4)}", "charts/microservice/templates/configmap.yaml"
    loop.replace(template, "\ndata:\n", f'\n  annotations:\n    token: "{word}"\ndata:\n')
    values = loop.file("cluster/local-values.yaml")
    values.write_text(yaml.safe_dump({**yaml.safe_load(values.read_text()), "networkPolicy": {"load": word}}))

    def seen() -> list[bool]:
        kinds = (("v1", "ConfigMap"), ("networking.k8s.io/v1", "NetworkPolicy"))
        found = [loop.instance.kube.get(kind, "catalog", namespace=names.LOCAL, api_version=version) for version, kind in kinds]
        return [word in str(item) for item in found]

    loop.until("both to be applied", seen, all, timeout=REBUILD_TIMEOUT)
    assert loop.ask("catalog").status == 200


def _promote(instance: Instance, folder: Path) -> None:
    """Bring a change of catalog to dev, and by a release to prod."""
    branch, work = f"feature/beside-{secrets.token_hex(3)}", Workspace.clone(instance, folder / "work")
    work.touch("catalog")
    work.commit("Change catalog")
    passed(instance, work.push(branch, options=["deploy=dev"]), branch)
    instance.invoke("merge", branch, timeout=FOLLOWED)
    tip = Workspace.clone(instance, folder / "merged").head
    passed(instance, tip, "develop")
    version = developing.next_release(instance)
    instance.invoke("release.cut", version, timeout=FOLLOWED)
    passed(instance, tip, f"release/v{version}")
    instance.invoke("approve", f"v{version}", "--user", "lead")
    instance.invoke("promote", "prod", "--release", f"v{version}", timeout=FOLLOWED)
    seen = ledger.look(instance)
    assert seen.records["prod", "catalog"].release == f"v{version}"
    assert seen.records["prod", "catalog"].digest == seen.records["stage", "catalog"].digest


def _noticed(service: str, told: str) -> bool:
    """Whether the stream tells that a service was built or updated."""
    return re.search(rf"^\s*{service}\s*│.*(?:Updating|updated|Building|Will copy|STEP)", told, re.MULTILINE) is not None


def _requirement(locked: str, name: str) -> str:
    """What a lock says of one package, with its hashes."""
    found = re.search(rf"^{name}==.*?(?=^\S)", locked + "\nend", re.MULTILINE | re.DOTALL)
    assert found, name
    return "\n".join(line for line in found[0].splitlines() if not line.lstrip().startswith("#")) + "\n"
