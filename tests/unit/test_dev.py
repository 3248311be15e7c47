"""The inner loop as far as it can be seen without a cluster: what the Tiltfile is told, how Tilt is started, how `local` ends."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from invoke.context import Context
from invoke.exceptions import Exit

import tasks
from slipway import access, dev, instance, shell
from slipway.dev import crashing, ground, running
from slipway.errors import SlipwayError, UsageError
from slipway.kube import Away
from slipway.settings import ROOT
from slipway.waiting import Pending, Ready, WaitTimeout
from tests.e2e import tilting
from tests.unit.fake_cluster import FakeKube, away, workload
from tests.unit.fakes import Screen
from tests.unit.loops import DIGEST, SERVICES, STORES, World


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    return World(monkeypatch, tmp_path)


def by_name(parts: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {part["name"]: part for part in parts}


def image(part: Mapping[str, Any]) -> str:
    return next(item["image"] for item in yaml.safe_load_all(part["yaml"]) if "image" in item)


def test_every_service_of_the_checkout_is_worked_on_when_none_is_named(world: World) -> None:
    seen = world.facts()
    services = by_name(seen["services"])
    assert tuple(services) == SERVICES
    assert all(service["live"] for service in services.values())
    assert image(services["cart"]) == f"{services['cart']['image']}@sha256:{'0' * 64}"
    assert services["cart"]["url"] == "http://cart.local.localhost:8081"
    assert json.loads(json.dumps(seen)) == seen


def test_what_is_not_worked_on_runs_as_in_dev(world: World) -> None:
    services = by_name(world.facts("cart")["services"])
    assert [name for name, service in services.items() if service["live"]] == ["cart"]
    assert image(services["orders"]) == f"localhost:5001/orders@{DIGEST}"


def test_a_service_that_dev_does_not_run_is_left_out_when_others_are_worked_on(world: World) -> None:
    world.kube.objects = [item for item in world.kube.objects if item["metadata"]["name"] != "orders"]
    assert "orders" not in by_name(world.facts("cart")["services"])
    assert "orders" in by_name(world.facts()["services"])


def test_a_store_that_dev_does_not_run_yet_is_told_with_who_needs_it(world: World) -> None:
    world.kube.objects = [item for item in world.kube.objects if item["metadata"]["name"] != "valkey"]
    with pytest.raises(UsageError, match=r"dev has no valkey yet, which cart needs: `\./invoke status --name test`"):
        world.facts()
    world.kube.objects = [item for item in world.kube.objects if item["metadata"]["name"] != "cart"]
    assert tuple(by_name(world.facts("catalog")["stores"])) == ("postgresql",), "nobody who is there needs it"


def test_stores_are_those_of_dev_and_wait_for_nobody(world: World) -> None:
    seen = world.facts()
    assert tuple(by_name(seen["stores"])) == STORES
    assert image(seen["stores"][0]) == f"localhost:5001/postgresql@{DIGEST}"
    assert by_name(seen["services"])["orders"]["needs"] == ["postgresql"]
    assert by_name(seen["services"])["catalog"]["needs"] == []


def test_what_a_migration_needs_comes_with_it_and_not_with_the_service_that_waits_for_it(world: World) -> None:
    services = by_name(world.facts()["services"])
    assert services["orders"]["jobs"] == [
        {"workload": "orders-migrate-12345678", "name": "orders-migrations", "objects": ["orders:serviceaccount"]}
    ]
    assert services["orders"]["objects"] == ["orders:configmap"]
    assert services["cart"]["objects"] == ["cart:configmap", "cart:serviceaccount"]


def test_the_context_is_one_that_can_change_nothing_but_local(world: World) -> None:
    assert world.facts()["context"] == "kind-test-developer"


def test_the_tests_of_a_service_are_its_own_and_not_those_of_a_longer_name(world: World) -> None:
    own = by_name(world.facts()["services"])["cart"]["tests"][-1]
    argv = [sys.executable, "-m", "pytest", "tests/services/test_own_tests.py", "--collect-only", "--quiet"]
    said = shell.run([*argv, "-k", f"{own} or {own.replace('cart', 'cat')}"], cwd=ROOT, check=False).stdout
    assert re.findall(r"::test_\w+\[(\w+)\]$", said, re.MULTILINE) == ["cart"], said


def test_nothing_that_is_secret_is_told(world: World) -> None:
    kept = access.open(world.settings, "developer").secrets.stores
    assert {use.partition("/")[0] for use in kept} >= {"local"}
    assert not [password for password in kept.values() if password in json.dumps(world.facts())]


def test_the_pip_configuration_for_builds_is_for_nobody_elses_eyes(world: World) -> None:
    [told_pip] = [one for one in world.facts()["secrets"] if one.startswith("id=pip,")]
    assert stat.S_IMODE(Path(told_pip.partition("src=")[2]).stat().st_mode) == 0o600


def test_files_that_the_facts_follow_from_are_watched_though_they_are_not_there_yet(world: World) -> None:
    watched = {Path(path).relative_to(ROOT).as_posix() for path in world.facts()["watched"]}
    assert {
        "charts/microservice",
        "charts/valkey",
        "cluster/local-values.yaml",
        "services/cart/envs/dev.yaml",
        "services/cart/envs/local.yaml",
        "services/cart/helm/local-values.yaml",
    } <= watched


def test_an_unknown_service_gets_the_list(world: World) -> None:
    with pytest.raises(UsageError, match="valid: cart, catalog, orders, storefront"):
        world.facts("chart")
    with pytest.raises(UsageError, match="valid: cart"):
        world.run("chart")


def test_an_engine_that_lost_the_image_to_build_on_is_told(world: World) -> None:
    world.held = False
    with pytest.raises(SlipwayError, match=r"python-build.*`./invoke up --name test` again"):
        world.facts()


def test_an_instance_that_is_not_there_is_told(world: World) -> None:
    world.engine.nodes.clear()
    with pytest.raises(UsageError, match=r"`\./invoke up --name test` makes it"):
        world.run()


def test_tilt_gets_the_instance_and_nothing_of_the_users(world: World) -> None:
    assert world.run("cart", "orders", port=12345) == 3
    argv, env = world.started["argv"], world.started["env"]
    assert argv[:3] == ["/tools/tilt", "up", "--stream"]
    assert argv[argv.index("--context") + 1] == "kind-test-developer"
    assert argv[argv.index("--host") + 1 :][:3] == ["127.0.0.1", "--port", "12345"]
    assert argv[argv.index("--") :] == ["--", "cart", "orders"]
    assert env["KUBECONFIG"] == str(world.settings.folder / "kubeconfig-developer")
    assert (env["SLIPWAY_INSTANCE"], env["SLIPWAY_HOME"]) == ("test", str(world.settings.home))
    homes = [env[name] for name in ("TILT_DEV_DIR", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME")]
    assert all(home.startswith(str(world.settings.folder)) for home in homes)
    assert env["TILT_DISABLE_ANALYTICS"] == env["DO_NOT_TRACK"] == "1"
    assert world.started["timeout"] is None


def test_the_secrets_of_local_are_there_before_tilt(world: World) -> None:
    world.run()
    secrets = {item["metadata"]["name"] for item in world.kube.list("Secret", namespace="local")}
    assert secrets == {"postgresql", "orders-postgresql", "valkey", "cart-valkey"}


def test_a_run_for_machines_ends_by_itself_and_tilt_says_why_before_we_do(world: World) -> None:
    world.run(ci=True, timeout=60)
    assert world.started["argv"][1:3] == ["ci", "--timeout=60s"]
    assert world.started["timeout"] == 90
    world.run(ci=True)
    assert world.started["timeout"] == running.CI_TIMEOUT + 30


def test_a_run_for_machines_ends_with_the_reason_once_a_service_cannot_come_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash = crashing.Crash("catalog", "catalog-1", "exit code 1", 1, "SyntaxError: invalid syntax")

    def found(watch: crashing.Watch) -> bool:
        watch.crashes = (crash,)
        return True

    monkeypatch.setattr(crashing.Watch, "hopeless", found)
    with pytest.raises(crashing.NeverUp, match=r"(?s)catalog does not come up.*SyntaxError"):
        world.run(ci=True, port=12345)
    assert instance.find_tilt(world.settings) is None
    assert world.run() == 3, "a developer may still mend it"


def test_a_run_for_machines_ends_when_what_it_brought_up_answers_at_its_url(world: World) -> None:
    world.code, world.answers = 0, [Pending("it answers 502"), Ready(None)]
    assert world.run("cart", "orders", ci=True) == 0
    assert world.asked == [f"http://{name}.local.localhost:8081/readyz" for name in ("cart", "cart", "orders")]
    assert "http://storefront.local.localhost:8081" in world.screen.text


def test_a_run_for_machines_fails_when_what_it_brought_up_never_answers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.code = 0
    world.answers[:] = [Pending("it answers 502")]
    monkeypatch.setattr(running, "_SERVED_TIMEOUT", 0.0)
    with pytest.raises(WaitTimeout, match=r"(?s)cart to answer in `local`.*502.*\./invoke logs cart --env local"):
        world.run("cart", ci=True)


def test_nobody_asks_for_what_tilt_did_not_bring_up_or_still_does(world: World) -> None:
    world.run(ci=True)
    world.code = 0
    world.run()
    assert world.asked == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"ci": True, "timeout": -5}, "--timeout=-5 is over before it begins"),
        ({"timeout": 60}, "--timeout is for --ci"),
        ({"port": -1}, "--port=-1 is no port"),
        ({"port": 65536}, "--port=65536 is no port"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(world: World, options: Mapping[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=f"^{says}"):
        world.run(**options)
    assert world.started == {}


def test_a_port_that_is_taken_is_refused_when_it_was_asked_for_and_passed_over_when_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {taken} is taken"):
            world.run(port=taken)
        assert world.started == {}
        monkeypatch.setattr(running, "PREFERRED_PORT", taken)
        world.run()
        argv = world.started["argv"]
        assert int(argv[argv.index("--port") + 1]) != taken


def test_a_removal_stands_alone() -> None:
    dev.alone("--down", [], ci=False, port=0, timeout=0)
    with pytest.raises(UsageError, match=r"^--down is for the whole of `local`: leave catalog and --ci out"):
        dev.alone("--down", ["catalog"], ci=True, port=0)


def test_a_removal_with_other_words_removes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev, "down", lambda *_, **__: pytest.fail("it was removed"))
    for words, flags in ((["catalog"], {}), ([], {"ci": True}), ([], {"port": 1}), ([], {"timeout": 1})):
        with pytest.raises(Exit) as refused:
            tasks.dev(Context(), words, down=True, **flags)
        assert refused.value.code == 2


def test_what_stays_and_how_it_goes_is_said_at_the_end(world: World) -> None:
    world.run()
    assert "http://storefront.local.localhost:8081" in world.screen.text
    assert "`./invoke dev --down --name test` removes it" in world.screen.lines[-1]


def test_there_is_one_tilt_an_instance_and_it_is_known_while_it_runs(world: World) -> None:
    world.run(port=12345)
    assert world.started["during"] == instance.Tilt("http://127.0.0.1:12345", (os.getpid(),))
    assert instance.find_tilt(world.settings) is None
    with instance.tilt(world.settings, "http://127.0.0.1:1"), pytest.raises(UsageError, match=r"http://127\.0\.0\.1:1"):
        world.run()


def test_tilt_is_known_and_the_only_one_when_who_started_it_was_killed(world: World) -> None:
    code = "import time; time.sleep(600)"
    starter = f"""
import subprocess, sys
from pathlib import Path
from slipway import instance
from slipway.settings import Settings
with instance.tilt(Settings(Path({str(ROOT)!r}), Path({str(world.settings.home)!r}), "test"), "http://127.0.0.1:1") as hold:
    tilt = subprocess.Popen([sys.executable, "-c", {code!r}], pass_fds=[hold.descriptor], stdout=subprocess.DEVNULL)
    hold.share(tilt.pid)
    print(flush=True)
    tilt.wait()
"""
    with subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE) as invoked:
        assert invoked.stdout
        invoked.stdout.readline()
        there = instance.find_tilt(world.settings)
        invoked.kill()
    assert there and len(there.pids) == 2
    try:
        assert instance.find_tilt(world.settings) == there
        with pytest.raises(UsageError, match=r"runs for instance 'test' already: http://127\.0\.0\.1:1"):
            world.run()
        assert instance.end_tilt(world.settings)
        assert world.run() == 3
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(there.pids[1], signal.SIGKILL)


def test_tilt_gets_the_lock_and_its_number_is_known(world: World) -> None:
    world.run()
    [descriptor] = world.started["keep"]
    assert descriptor > 2
    assert world.started["started"] == (os.getpid(), 4711)


def test_what_a_removal_that_was_cut_off_has_left_is_made_good(world: World) -> None:
    world.kube.objects.append({"kind": "Namespace", "metadata": {"name": "local", "deletionTimestamp": "2026-01-01T00:00:00Z"}})
    looked: list[str] = []

    def get(kind: str, name: str, **_: Any) -> dict[str, Any] | None:
        looked.append(name)
        if len(looked) == 3:
            world.kube.objects = [item for item in world.kube.objects if item["metadata"]["name"] != "local"]
        return FakeKube.get(world.kube, kind, name)

    world.kube.get = get  # type: ignore[method-assign]
    world.run()
    assert len(looked) == 3, "it is waited for"
    made = [f"{item['kind']}/{item['metadata']['name']}" for item in world.kube.objects]
    assert {"Namespace/local", "RoleBinding/developer", "Secret/valkey"} <= set(made)


def test_down_empties_local_and_leaves_it_as_up_made_it(world: World) -> None:
    world.kube.objects.append(workload("cart", "local"))
    world.kube.objects.append({"kind": "Namespace", "metadata": {"name": "local"}})
    asked: list[str] = []

    def delete(kind: str, name: str, **_: Any) -> bool:
        asked.append(f"{kind}/{name}")
        world.kube.objects = [item for item in world.kube.objects if item["metadata"].get("namespace") != "local"]
        world.kube.objects = [item for item in world.kube.objects if item["kind"] != "Namespace"]
        return True

    world.kube.delete = delete  # type: ignore[method-assign]
    assert ground.down(world.settings, progress=Screen().progress).workloads == ("cart",)
    assert asked == ["Namespace/local"]
    again = [item for item in world.kube.objects if item["kind"] in ("Namespace", "RoleBinding")]
    assert [item["metadata"]["name"] for item in again] == ["local", "developer"]
    assert again[0]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "baseline"


def test_an_api_server_that_still_starts_is_told_with_what_to_do(world: World, tmp_path: Path) -> None:
    kube = away(tmp_path)
    for ask in (world.run, lambda: ground.down(world.settings, progress=Screen().progress)):
        world.kube = kube  # type: ignore[assignment]
        with pytest.raises(SlipwayError, match=r"the API server does not answer .*`\./invoke status`, and repeat"):
            ask()


def test_an_api_server_that_is_away_for_a_moment_while_local_is_emptied_is_waited_for(world: World) -> None:
    answers: list[Exception | None] = [Away("it restarts"), None]

    def get(kind: str, name: str, **_: Any) -> dict[str, Any] | None:
        answer = answers.pop(0)
        if answer:
            raise answer
        return None

    world.kube.get, world.kube.delete = get, lambda *_: True  # type: ignore[method-assign]
    assert ground.down(world.settings, progress=Screen().progress).workloads == ()
    assert answers == []


def test_what_the_readme_has_one_change_is_there_and_is_changed(tmp_path: Path) -> None:
    first, second = tilting.printed(ROOT)
    assert first.startswith("./invoke dev ")
    template = "services/storefront/templates/base.html"
    (tmp_path / template).parent.mkdir(parents=True)
    (tmp_path / template).write_text((ROOT / template).read_text())
    shell.run(["bash", "-c", second], cwd=tmp_path)
    assert "Saved a second ago." in (tmp_path / template).read_text()
