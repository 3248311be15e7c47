"""The way of a load test from its begin to its end: whatever happens on it, its data go, and no trouble of ours is a verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any

import pytest
import urllib3.exceptions

from slipway.errors import SlipwayError, UsageError
from slipway.kube import KubeError
from slipway.load import books, changing, counters, data, during, generator, keeping, measuring, origin, running
from slipway.load.changing import Changing
from slipway.load.model import ENVIRONMENT_CODE, FAIL, INVALID, PASS, Asked, Client, Pod, Run, Second
from slipway.promotion import Refused
from slipway.settings import ROOT, Settings
from tests.unit import loads
from tests.unit.fakes import Screen

NEVER = "cart never came up"


class Stage:
    """An environment in which everything goes as a test says.

    Attributes:
        sending: What happens while the load is on.
        looking: What happens when the pods are looked at after it.
        change: What `--during` does.
        orders: How many orders PostgreSQL removes; None when it does not.
        asked: The tests whose orders were removed.
    """

    def __init__(self, home: Path) -> None:
        self.settings = Settings(ROOT, home, "test")
        self.sending: Callable[[], None] = lambda: None
        self.looking: Callable[[], None] = lambda: None
        self.change: Callable[[], Mapping[str, str]] = dict
        self.seconds: Sequence[Second] = loads.CLIENT.seconds
        self.orders: int | None = 100
        self.asked: list[str] = []
        self.looked = 0

    def send(self, *_: Any, on_second: Callable[[Second], None], **__: Any) -> Client:
        for second in self.seconds:
            on_second(second)
        self.sending()
        return loads.CLIENT

    def pods(self) -> tuple[Pod, ...]:
        self.looked += 1
        if self.looked > 1:
            self.looking()
        return loads.pods()

    def remove(self, kube: object, environment: str, prefix: str) -> int | None:
        self.asked.append(f"{environment} {prefix}")
        return self.orders

    def run(self, **asked: Any) -> Run:
        return running.run(self.settings, Asked(**asked), Screen().progress)

    @property
    def kept(self) -> list[str]:
        return keeping.every_id(self.settings)


class Finder:
    """Finds every id."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __enter__(self) -> Finder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def found(self, ids: Sequence[str]) -> int:
        return len(ids)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    made = Stage(tmp_path)
    kube = SimpleNamespace(list=lambda *_, **__: [])
    access = SimpleNamespace(
        settings=made.settings, plan=SimpleNamespace(make=lambda *_: "image"), registry=None, helm=Path("helm")
    )
    here = origin.Origin(loads.TARGET.addresses, {}, kube)  # type: ignore[arg-type]
    place = running.Place(access, kube, here, None, loads.TARGET, loads.PLAN, {}, loads.LIMITS, loads.RULES)  # type: ignore[arg-type]
    monkeypatch.setattr(running.Place, "pods", lambda _: made.pods())
    monkeypatch.setattr(running, "_look", lambda *_: place)
    monkeypatch.setattr(generator, "in_cluster", made.send)
    monkeypatch.setattr(books, "Finder", Finder)
    monkeypatch.setattr(books, "order_rows", lambda *_: 100)
    monkeypatch.setattr(books, "served", lambda *_: books.Served(1220.0, 1220.0))
    monkeypatch.setattr(measuring, "settle", lambda *_, **__: "")
    monkeypatch.setattr(measuring, "measure", lambda *_: loads.SERVER)
    monkeypatch.setattr(counters, "taken", lambda *_: ())
    monkeypatch.setattr(data, "remove_orders", made.remove)
    monkeypatch.setattr(during, "work", lambda *_, **__: during.Work("rollout", made.change))
    return made


def raising(error: BaseException) -> Callable[[], Any]:
    def body() -> Any:
        raise error

    return body


def test_a_good_test_passes_is_kept_and_leaves_no_order(stage: Stage) -> None:
    run = stage.run()
    assert run.verdict.outcome == PASS, run.verdict.reasons
    assert stage.kept == [run.id]
    assert stage.asked == [f"stage load-{run.id}-"]
    assert run.client.removed == {"carts": 100, "orders": 100}


def test_a_test_after_which_not_everything_was_scraped_is_invalid(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "settle", lambda *_, **__: "a scrape of every pod of stage: not yet of cart")
    run = stage.run()
    assert run.verdict.outcome == INVALID
    assert [(one.rule, "not yet of cart" in one.said) for one in run.verdict.reasons] == [("prometheus", True)]


def test_data_that_are_to_stay_stay(stage: Stage) -> None:
    assert stage.run(keep=True).client.removed == {}
    assert stage.asked == []


def test_orders_that_could_not_be_removed_are_told(stage: Stage) -> None:
    stage.orders = None
    screen = Screen()
    run = running.run(stage.settings, Asked(), screen.progress)
    assert run.client.removed == {"carts": 100, "orders": None}
    assert "did not remove the orders of load-" in screen.text


@pytest.mark.parametrize("moment", ["sending", "looking"])
@pytest.mark.parametrize(
    "error",
    [
        KubeError("refused"),
        ConnectionError("reset"),
        urllib3.exceptions.MaxRetryError(None, "/api", None),  # type: ignore[arg-type]
        OSError(28, "No space left on device"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_goes_wrong_on_our_side_is_no_verdict_and_leaves_no_order(stage: Stage, moment: str, error: Exception) -> None:
    setattr(stage, moment, raising(error))
    with pytest.raises(SlipwayError) as caught:
        stage.run()
    assert caught.value.exit_code == ENVIRONMENT_CODE
    assert (len(stage.asked), stage.kept) == (1, [])


def test_an_interrupted_test_leaves_no_order(stage: Stage) -> None:
    stage.sending = raising(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        stage.run()
    assert len(stage.asked) == 1


def test_a_change_that_fails_under_the_load_fails_the_test_which_is_kept(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changing, "_now", lambda: loads.BEGAN + 20)
    stage.change = raising(SlipwayError(NEVER))
    run = stage.run(during="rollout")
    assert run.verdict.outcome == FAIL, run.verdict.reasons
    assert [reason.said for reason in run.verdict.reasons] == [f"the rollout failed under the load: {NEVER}"]
    assert run.change
    assert run.change.failed == NEVER
    assert (stage.kept, len(stage.asked)) == ([run.id], 1)


@pytest.mark.parametrize("error", [UsageError("it runs that already"), Refused(())], ids=["nothing to do", "refused"])
def test_a_change_that_changes_nothing_proves_nothing(stage: Stage, error: Exception) -> None:
    stage.change = raising(error)
    with pytest.raises(type(error)):
        try:
            stage.run(during="rollout")
        except running.Environmental as wrapped:
            raise wrapped.__cause__ or wrapped from None
    assert (stage.kept, len(stage.asked)) == ([], 1)


def test_a_load_that_ends_before_its_change_begins_proves_nothing(stage: Stage) -> None:
    stage.seconds = [second for second in loads.CLIENT.seconds if second.phase == "warm-up"]
    made = stage.run(during="rollout")
    assert len(stage.asked) == 1
    assert made.verdict.outcome == INVALID
    assert "changed" in {reason.rule for reason in made.verdict.reasons}


def test_a_change_is_made_once_and_tells_when_and_what_must_run_then() -> None:
    made: list[int] = []

    def roll() -> Mapping[str, str]:
        made.append(1)
        return {"cart": "sha256:b"}

    change = Changing(during.Work("rollout", roll))
    for _ in range(3):
        change.begin()
    assert change.end() == {"cart": "sha256:b"}
    assert made == [1]
    assert change.made
    assert (change.made.kind, change.made.failed) == ("rollout", "")
    assert change.made.begin <= change.made.end


def test_nothing_to_change_changes_nothing() -> None:
    change = Changing(None)
    change.begin()
    assert (change.end(), change.made) == ({}, None)


def test_a_failed_change_says_nothing_of_what_must_run_then() -> None:
    change = Changing(during.Work("promotion", raising(ValueError())))
    change.begin()
    assert change.end() == {}
    assert change.made
    assert change.made == replace(change.made, kind="promotion", failed="ValueError")
