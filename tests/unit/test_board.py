"""The board as a page: what it says when all is well, when something is not, and when something is not known."""

from __future__ import annotations

import dataclasses
import html.parser
import json
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import urllib3

from slipway import board, engine, gitserver, overview, page, status
from slipway.board import Looker
from slipway.errors import UsageError
from slipway.kube import Kube
from slipway.measures import Key, Measured, Traffic
from slipway.overview import Board
from slipway.page import Pages, View
from slipway.settings import ROOT, Settings
from slipway.status import Runner
from tests.unit import boards
from tests.unit.boards import AT, BUSY, ENVIRONMENTS, SERVICES, STORES, alert, measured, seen, service
from tests.unit.fake_cluster import FakeEngine, FakeKube, FakeNode, application, workload

SETTINGS = Settings(ROOT, Path("/nowhere"), "test")
PAGES = Pages(SETTINGS)
TIMEOUT = 10.0

HOSTILE = "<script>alert('1')</script><b title=\"x\">&amp;"


class Page(html.parser.HTMLParser):
    """The text of a page by its parts, and every address in it.

    Attributes:
        cells: The text of each cell by environment and service.
        states: The state of each cell.
        addresses: Everything that a browser could follow or fetch.
        text: All of it.
        tags: Every tag.
    """

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.cells: dict[Key, str] = {}
        self.states: dict[Key, str] = {}
        self.addresses: list[str] = []
        self.text, self.tags = "", list[str]()
        self.heads: dict[str, str] = {}
        self._cell: Key | None = None
        self._head = ""
        self._skipped = False
        self.feed(markup)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.addresses += [given[name] for name in ("href", "src", "action") if name in given]
        if tag == "td":
            self._cell = given.get("data-environment", ""), given["data-service"]
            self.cells[self._cell], self.states[self._cell] = "", given["class"]
        if tag == "th":
            self._head = given.get("data-environment", "")
        self._skipped = tag in ("style", "script")

    def handle_endtag(self, tag: str) -> None:
        if tag == "td" and self._cell:
            self.cells[self._cell] = " ".join(self.cells[self._cell].split())
            self._cell = None
        if tag == "th":
            self._head = ""
        self._skipped = False

    def handle_data(self, data: str) -> None:
        if not self._skipped:
            self.text += data + " "
            if self._cell:
                self.cells[self._cell] += data + " "
            if self._head:
                self.heads[self._head] = f"{self.heads.get(self._head, '')} {data.strip()}".strip()


def shown(of: Board | View, *, live: bool = True) -> Page:
    return Page(PAGES.page(of if isinstance(of, View) else View(of), live=live))


# All is well.
def test_every_service_and_store_has_a_cell_in_every_environment_with_what_it_runs() -> None:
    found = shown(boards.board(measures=measured({("dev", "catalog"): BUSY})))
    assert set(found.cells) == {(where, name) for where in ENVIRONMENTS for name in (*SERVICES, *STORES)}
    assert set(found.states.values()) == {"well"}
    assert found.cells["dev", "catalog"] == "dev Healthy Synced 2/2 0.1.0 c0ffee12 requests 12 /s errors 0 % p95 38 ms"
    assert found.cells["qa", "catalog"] == "qa Healthy Synced 2/2 0.1.0 c0ffee12 no requests"
    assert found.cells["qa", "valkey"] == "qa Healthy Synced 2/2 18.1"
    assert "All is well live" not in found.text
    assert found.text.count("All is well") == 2  # title and headline


def test_the_top_names_instance_version_platform_and_alerts() -> None:
    found = shown(boards.board(measures=measured()))
    assert "test full Kubernetes v1.36.3 platform 2 of 2 ready no alerts" in found.text


@pytest.mark.parametrize(
    ("runner", "said"),
    [
        (Runner("develop-3fc99510", 2, "", ""), "runner runs develop-3fc99510, 2 waiting"),
        (
            Runner("", 0, "feature/x 3fc995102 passed after 14 s", ""),
            "looks for pushes , last feature/x 3fc995102 passed after 14 s",
        ),
        (
            Runner("", 0, "", "there is none; pushes wait until `./invoke up` has made it"),
            "runner there is none; pushes wait until",
        ),
    ],
)
def test_the_top_says_what_the_runner_does(runner: Runner, said: str) -> None:
    assert said in shown(boards.board(seen(runner=runner))).text


def test_everything_is_linked_to_where_it_answers() -> None:
    whole = seen()
    local = {"storefront.local": "http://storefront.local.localhost:8080", "tilt": "http://127.0.0.1:10350"}
    status = dataclasses.replace(whole, urls={**whole.urls, **local})
    found = shown(boards.board(status, measured({("dev", "catalog"): BUSY})))
    services = [url for row in status.services if row.url for url in (row.url, f"{row.url}/version")]
    asked = [f"applications/{row.service}-{row.environment}.json" for row in status.services]
    repositories = [f"http://git.localhost:8080/{name}.git" for name in gitserver.repositories(SETTINGS)]
    for address in (*status.urls.values(), *status.service_urls.values(), *services, *asked, *repositories):
        assert address in found.addresses, address
    assert any(address.startswith("http://prometheus.localhost:8080/") and "p95" in address for address in found.addresses)
    counted = {url: found.addresses.count(url) for url in ("http://cart.dev.localhost:8080", "http://cart.prod.localhost:8080")}
    assert list(counted.values()) == [2, 1], "a service's name leads to the first environment"
    assert "Argo CD Git Prometheus Alertmanager Storefront in local Tilt" in found.text


def test_nothing_is_fetched_from_elsewhere() -> None:
    for live in (True, False):
        markup = PAGES.page(View(boards.troubled()), live=live)
        found = Page(markup)
        assert {
            tag for tag in found.tags if tag in ("img", "iframe", "object", "embed", "video", "audio", "form", "base")
        } == set()
        fetched = [address for address in found.addresses if not address.startswith("http://")]
        assert all(address.startswith(("data:image/svg+xml,", "#", "applications/")) for address in fetched)
        assert found.tags.count("script") == int(live)
        assert "url(" not in markup
        assert "@import" not in markup


def test_the_policy_names_style_and_script_by_what_they_are() -> None:
    pages = PAGES
    assert "default-src 'none'" in pages.policy
    assert pages.policy.count("'sha256-") == 2
    assert "unsafe" not in pages.policy


def test_without_scripts_the_page_comes_anew_by_itself_and_a_snapshot_does_not() -> None:
    pages, view = PAGES, View(boards.board())
    assert '<noscript><meta http-equiv="refresh"' in pages.page(view, live=True)
    assert 'http-equiv="refresh"' not in pages.page(view, live=False)


def test_a_snapshot_says_when_it_was_made_and_does_not_link_to_the_server() -> None:
    found = shown(boards.board(), live=False)
    assert f"as it was on {AT.astimezone():%Y-%m-%d at %H:%M:%S}" in found.text
    assert not [address for address in found.addresses if address.startswith("applications/")]


def test_what_changes_of_the_page_is_the_same_text_while_nothing_does() -> None:
    pages, one = PAGES, boards.board(measures=measured())
    assert pages.main(View(one, age=0.1), live=True) == pages.main(View(one, age=1.9), live=True)


# Something is not well.
def test_trouble_is_said_where_it_is_in_words_and_by_a_symbol() -> None:
    found = shown(boards.troubled())
    assert found.states["dev", "orders"] == "bad"
    assert found.cells["dev", "orders"] == (
        "dev 0/1 ready Degraded, Synced 0/1 0.3.0-dev.17 5ca1ab1e ≠ qa "
        "container main: CrashLoopBackOff, last exit code 1 PodRestarts no requests"
    )
    assert found.states["qa", "cart"] == found.states["stage", "cart"] == "warn"
    assert found.cells["stage", "cart"].startswith("stage OutOfSync Healthy 2/2")
    assert found.cells["prod", "orders"] == "prod not delivered"
    assert "argocd-server argocd container main: ImagePullBackOff" in found.text
    assert found.text.startswith("5 in trouble, 4 alerts")
    assert {"#bad", "#warn", "#well", "#none"} <= set(found.addresses)


@pytest.mark.parametrize(
    ("changes", "word", "state"),
    [
        ({"ready": 1}, "1/2 ready", "warn"),
        ({"ready": 0}, "0/2 ready", "bad"),
        ({"ready": 0, "replicas": 0}, "not running", "bad"),
        ({"health": "Progressing"}, "Progressing", "warn"),
        ({"health": "Degraded"}, "Degraded", "bad"),
        ({"sync": "OutOfSync"}, "OutOfSync", "warn"),
        ({"sync": "", "health": ""}, "in trouble", "warn"),
        ({}, "in trouble", "warn"),
    ],
)
def test_the_word_for_a_service_in_trouble_is_what_is_wrong(changes: dict[str, Any], word: str, state: str) -> None:
    found = shown(boards.board(seen(service("cart", "qa", trouble="it is ill", **changes))))
    assert found.cells["qa", "cart"].startswith(f"qa {word} ")
    assert found.states["qa", "cart"] == state


def test_another_artifact_than_the_next_environments_is_marked() -> None:
    found = shown(boards.troubled())
    marks = {where: "≠" in found.cells[where, "catalog"] for where in ENVIRONMENTS}
    assert marks == {"dev": False, "qa": True, "stage": True, "prod": False}
    assert "≠ prod" in found.cells["stage", "catalog"]
    assert "catalog dev, qa and stage differ from prod" in found.text


def test_the_same_version_of_another_build_is_marked_too() -> None:
    rebuilt = service("catalog", "stage", digest="sha256:" + "e" * 64)
    assert "≠ prod" in shown(boards.board(seen(rebuilt))).cells["stage", "catalog"]


def test_alerts_stand_in_their_cell_their_environment_or_with_the_platform() -> None:
    found = shown(boards.troubled())
    assert "1 alert" in found.cells["prod", "catalog"]
    assert "ErrorRatioHigh" in found.cells["prod", "catalog"]
    assert "NamespaceFull" in found.heads["qa"]
    assert "ArgoCDSilent platform, critical" in found.text
    assert not any("ArgoCDSilent" in text for text in (*found.cells.values(), *found.heads.values()))


def test_a_silenced_alert_is_shown_and_makes_no_noise() -> None:
    found = shown(boards.board(measures=measured(None, alert(environment="prod", service="catalog", silenced=True))))
    assert "ErrorRatioHigh (silenced)" in found.cells["prod", "catalog"]
    assert found.states["prod", "catalog"] == "well"
    assert found.text.startswith("All is well")


@pytest.mark.parametrize(("severity", "state"), [("critical", "bad"), ("warning", "warn")])
def test_an_alert_makes_a_service_ill_that_the_cluster_calls_healthy(severity: str, state: str) -> None:
    fires = measured(None, alert(environment="prod", service="catalog", severity=severity))
    found = shown(boards.board(measures=fires))
    assert found.states["prod", "catalog"] == state
    assert boards.board(measures=fires).headline[0] == state
    assert "All is well" not in found.text


def test_hostile_texts_stay_texts() -> None:
    bad = service(
        "catalog", "dev", version=HOSTILE, commit=HOSTILE, trouble=HOSTILE, sync=HOSTILE, health=HOSTILE, url='"><script>'
    )
    fires = dataclasses.replace(alert(environment="dev", service="catalog"), name=HOSTILE, summary=HOSTILE)
    status = seen(bad, trouble=f"see `{HOSTILE}`", kubernetes=HOSTILE)
    markup = PAGES.page(View(boards.board(status, measured(None, fires)), failure=HOSTILE), live=True)
    found = Page(markup)
    assert found.tags.count("script") == 1
    assert HOSTILE in found.text
    assert "<script>alert" not in markup


# Something is not known.
@pytest.mark.parametrize(
    ("traffic", "said"),
    [
        (None, "no data"),
        (Traffic(read=False), "no data"),
        (Traffic(rate=0.0, read=False), "no data"),
        (Traffic(read=True), "no requests"),
        (Traffic(rate=0.0, read=True), "no requests"),
        (Traffic(rate=0.0, read=True, begun=True), "first requests; no rate yet"),
        (Traffic(rate=0.5, read=True), "requests 0.5 /s errors no data p95 no data"),
    ],
)
def test_what_is_not_known_is_never_shown_as_a_zero(traffic: Traffic | None, said: str) -> None:
    known = dict(measured().traffic)
    known.pop(("dev", "catalog"))
    measures = dataclasses.replace(measured(), traffic={**known, **({("dev", "catalog"): traffic} if traffic else {})})
    assert shown(boards.board(measures=measures)).cells["dev", "catalog"] == f"dev Healthy Synced 2/2 0.1.0 c0ffee12 {said}"


def test_without_an_answer_of_prometheus_no_number_and_no_all_clear_is_shown() -> None:
    found = shown(boards.board(measures=Measured(trouble="http://prometheus.localhost:8080 answers 503.")))
    assert found.cells["dev", "catalog"].endswith("no data")
    assert "No numbers and no alerts: http://prometheus.localhost:8080 answers 503." in found.text
    assert "All is well" not in found.text
    assert "no alerts firing" not in found.text
    assert "platform 2 of 2 ready no alerts" not in found.text


def test_alerts_that_reach_nobody_are_no_all_clear() -> None:
    found = shown(boards.board(measures=measured(unheard="http://alertmanager.localhost:8080 does not answer.")))
    assert "Alerts reach nobody" in found.text
    assert "All is well" not in found.text


def test_a_minimal_instance_says_that_it_has_no_monitoring() -> None:
    found = shown(boards.minimal())
    assert {where for where, _ in found.cells} == {"dev"}
    assert found.cells["dev", "catalog"] == "dev Healthy Synced 2/2 0.1.0 c0ffee12"
    assert "no monitoring in this profile: no numbers, no alerts" in found.text
    assert not any("prometheus" in address for address in found.addresses)


def test_a_service_of_the_checkout_that_is_nowhere_is_named() -> None:
    whole = seen()
    without = dataclasses.replace(whole, services=tuple(row for row in whole.services if row.service != "orders"))
    found = shown(boards.board(without, measured()))
    assert found.cells["", "orders"] == "not delivered"
    assert "What was delivered is well" in found.text
    assert "Not delivered, or not everywhere: orders." in found.text


def test_a_storefront_that_was_not_delivered_is_not_linked() -> None:
    whole = seen()
    without = dataclasses.replace(whole, services=tuple(row for row in whole.services if row.service != "storefront"))
    assert "http://storefront.dev.localhost:8080" not in shown(boards.board(without)).addresses


@pytest.mark.parametrize(
    ("orders", "told"),
    [({}, ""), ({"dev": 0.0}, " no orders"), ({"dev": 61.3}, " 61 orders/min"), ({"dev": 0.512}, " 0.51 orders/min")],
)
def test_accepted_orders_are_shown_where_they_are_counted(orders: dict[str, float], told: str) -> None:
    assert shown(boards.board(measures=measured(orders=orders))).heads["dev"] == f"dev storefront{told}"


# What is seen is old.
def gone() -> Board:
    there = seen()
    empty: dict[str, Any] = {"services": (), "platform": (), "urls": {}, "service_urls": {}, "profile": "", "kubernetes": ""}
    lost = dataclasses.replace(there, state="unreachable", trouble="Its API server does not answer.", **empty)
    return dataclasses.replace(boards.board(lost), at=AT + timedelta(minutes=5))


def test_an_instance_that_does_not_answer_is_shown_as_it_was_and_since_when() -> None:
    found = shown(View(gone(), last=boards.board(measures=measured())))
    assert found.text.startswith("test is unreachable")
    assert f"What you see is of {AT.astimezone():%H:%M:%S}; test does not answer." in found.text
    assert "0.1.0" in found.cells["prod", "catalog"]


def test_an_instance_that_never_answered_has_nothing_to_show() -> None:
    found = shown(gone())
    assert (found.cells, "What you see is of" in found.text) == ({}, False)
    assert "Its API server does not answer." in found.text


def test_a_look_that_failed_or_hangs_is_told_with_the_time_of_what_is_shown() -> None:
    there = boards.board(measures=measured())
    at = f"{AT.astimezone():%H:%M:%S}"
    assert f"What you see is of {at}; it broke." in shown(View(there, age=2.0, failure="it broke")).text
    assert f"What you see is of {at}; the cluster has not answered since." in shown(View(there, age=page.STALE + 1)).text
    assert "Not live" not in shown(View(there, age=page.STALE - 1)).text


@pytest.mark.parametrize("old", [{"age": page.STALE + 1}, {"failure": "it broke"}])
def test_what_is_old_is_not_called_well(old: dict[str, Any]) -> None:
    there = boards.board(measures=measured())
    assert shown(View(there)).text.startswith("All is well")
    found = shown(View(there, **old))
    assert found.text.startswith("Not live")
    assert "All is well" not in found.text


def test_before_the_first_look_has_ended_the_page_says_so() -> None:
    assert "The first look has not ended yet." in shown(View(None)).text
    assert "it broke" in shown(View(None, failure="it broke")).text


# Numbers.
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0001, "<0.01"),
        (0.25, "0.25"),
        (1.0, "1"),
        (9.96, "10"),
        (12.5, "12"),
        (999.4, "999"),
        (999.6, "1.0k"),
        (1234.5, "1.2k"),
    ],
)
def test_rates_are_short(value: float, text: str) -> None:
    assert page.rate(value) == text


@pytest.mark.parametrize(
    ("ratio", "text"), [(0.0, "0 %"), (0.0001, "<0.1 %"), (0.125, "12.5 %"), (0.9999, ">99.9 %"), (1.0, "100 %")]
)
def test_a_share_that_is_not_quite_nothing_or_everything_looks_like_neither(ratio: float, text: str) -> None:
    assert page.percent(ratio) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.0002, "<1 ms"), (0.0382, "38 ms"), (0.9996, "1.0 s"), (2.45, "2.5 s")])
def test_durations_are_short(seconds: float, text: str) -> None:
    assert page.duration(seconds) == text


def test_a_course_is_drawn_as_lines_between_its_gaps() -> None:
    assert page.lines((1.0, 2.0, None, 0.0, 2.0)) == ["0,10.0 1,1.0", "3,19.0 4,1.0"]
    assert page.lines((0.0, 0.0, None)) == page.lines(()) == []


# For machines.
def test_a_machine_reads_null_for_what_is_not_known() -> None:
    read = json.loads(json.dumps(boards.troubled().as_dict()))
    rows = {(row["environment"], row["service"]): row for row in read["services"]}
    assert rows["prod", "catalog"]["error_ratio"] == 0.125
    assert rows["prod", "catalog"]["alerts"] == ["ErrorRatioHigh"]
    assert (rows["stage", "catalog"]["request_rate"], rows["dev", "valkey"]["request_rate"]) == (None, None)
    assert (read["metrics"], read["state"], read["orders_per_minute"]["dev"]) == ("ok", "degraded", 61.3)
    assert ("prod", "orders") not in rows
    placed = {fires["name"]: (fires["environment"], fires["service"]) for fires in read["alerts"]}
    assert placed["ApplicationOutOfSync"] == ("stage", "cart")
    assert boards.minimal().as_dict()["metrics"] == "none"


def test_states_are_ordered_from_best_to_worst() -> None:
    assert overview.STATES == ("none", "well", "warn", "bad")


# The whole, on a cluster that is none.
@pytest.fixture
def kube(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeKube:
    node = {
        "kind": "Node",
        "metadata": {"name": "test-control-plane"},
        "status": {"nodeInfo": {"kubeletVersion": "v1.36.3"}, "conditions": [{"type": "Ready", "status": "True"}]},
    }
    published = {"kind": "ConfigMap", "metadata": {"name": "platform", "namespace": "slipway-system"}, "data": {"workloads": ""}}
    made = FakeKube(node, published, application("catalog", "dev"), workload("catalog", "dev"))
    monkeypatch.setattr(engine, "find", lambda _: FakeEngine(test=FakeNode(profile="minimal", port=1)))
    monkeypatch.setattr(status, "Kube", lambda *_: made)
    monkeypatch.setattr(board, "Kube", lambda *_: made)
    return made


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(ROOT, tmp_path, "test")
    made.folder.mkdir(parents=True)
    made.kubeconfig.touch()
    return made


def test_what_was_seen_is_kept_while_the_api_server_does_not_answer_and_forgotten_with_the_instance(
    kube: FakeKube, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    looker = Looker(settings)
    first = looker.look()
    assert looker.last is first
    kube.answers = False
    assert looker.look().status.state == "unreachable"
    assert looker.last is first
    monkeypatch.setattr(engine, "find", lambda _: FakeEngine())
    assert looker.look().status.state == "absent"
    assert looker.last is None


def test_a_full_instance_whose_prometheus_does_not_answer_says_so(
    kube: FakeKube, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "find", lambda _: FakeEngine(test=FakeNode(profile="full", port=1)))
    found = Looker(settings).look()
    assert found.measured
    assert "prometheus.localhost:1 does not answer" in found.measured.trouble
    assert found.environments == ENVIRONMENTS


def test_the_page_is_written_to_a_file(kube: FakeKube, settings: Settings, tmp_path: Path) -> None:
    file = board.write(settings, str(tmp_path / "board.html"))
    found = Page(file.read_text())
    assert found.cells["dev", "catalog"] == "dev Healthy Synced 1/1 0.1.0 c0ffeec0"
    assert "script" not in found.tags


def test_a_file_that_cannot_be_written_is_a_sentence(kube: FakeKube, settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be written: No such file or directory\. Name a file"):
        board.write(settings, str(tmp_path / "nowhere" / "board.html"))


def test_the_server_shows_the_page_its_changing_part_and_what_argo_cd_says(kube: FakeKube, settings: Settings) -> None:
    said: Future[str] = Future()
    end = threading.Event()
    with ThreadPoolExecutor(1) as pool, urllib3.PoolManager() as browser:
        serving = pool.submit(board.serve, settings, say=said.set_result, end=end)
        try:
            url = said.result(TIMEOUT).partition(" ")[0]
            whole = browser.request("GET", url)
            assert "frame-ancestors 'none'" in whole.headers["Content-Security-Policy"]
            assert "c0ffeec0" in whole.data.decode()
            part = browser.request("GET", f"{url}/main")
            assert part.data.decode().lstrip().startswith("<header")
            assert float(part.headers["Data-Age"]) >= 0
            told = browser.request("GET", f"{url}/applications/catalog-dev.json")
            assert told.json()["metadata"]["name"] == "catalog-dev"
            assert browser.request("GET", f"{url}/applications/nobody-dev.json").status == 404
            assert browser.request("GET", f"{url}/applications/../secrets.json").status == 404
        finally:
            end.set()
        assert serving.result(TIMEOUT) is None


def test_ctrl_c_ends_the_server_in_peace_and_another_programs_word_is_passed_on(kube: FakeKube, settings: Settings) -> None:
    class Terminated(KeyboardInterrupt):
        """Another program asked."""

    def interrupted(kind: type[KeyboardInterrupt]) -> None:
        def say(_: str) -> None:
            raise kind

        board.serve(settings, say=say)

    interrupted(KeyboardInterrupt)
    with pytest.raises(Terminated):
        interrupted(Terminated)


def test_a_cluster_that_is_gone_is_said_where_argo_cds_word_was_asked(kube: FakeKube, settings: Settings) -> None:
    kube.failing["Application"] = ConnectionResetError("reset")
    reply = board._application(settings, "catalog-dev")  # pyright: ignore[reportPrivateUsage]
    assert reply
    assert (reply.status, reply.body) == (503, "The cluster does not answer.\n")


def test_argo_cds_word_is_asked_only_where_argo_cd_lives(kube: FakeKube, settings: Settings) -> None:
    assert isinstance(kube, Kube)
    kube.objects = [{**item, "metadata": {**item["metadata"], "namespace": "dev"}} for item in kube.objects]
    assert board._application(settings, "catalog-dev") is None  # pyright: ignore[reportPrivateUsage]
