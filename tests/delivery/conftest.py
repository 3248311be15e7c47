"""What deliveries begin with, made once; every test has a copy of its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from slipway import promoting as by_hand
from slipway import releases
from tests.delivery import promoting, receiving, releasing
from tests.delivery.receiving import Site
from tests.delivery.releasing import Start, World

Begin = Callable[[Start, Callable[[World], object]], Start]


@pytest.fixture(scope="session")
def begun_site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The Git server's repositories as `up` leaves them."""
    return receiving.make(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="session")
def begun_delivery(begun_site: Site) -> Start:
    """The same, with the secrets of the instance."""
    return releasing.start(begun_site)


@pytest.fixture(scope="session")
def further(tmp_path_factory: pytest.TempPathFactory) -> Begin:
    """Takes what deliveries begin with a step further."""

    def make(begun: Start, step: Callable[[World], object]) -> Start:
        with pytest.MonkeyPatch.context() as patched:
            world = releasing.world(begun, tmp_path_factory.mktemp("further"), patched)
            step(world)
            return releasing.kept(world)

    return make


@pytest.fixture(scope="session")
def after_cut(begun_delivery: Start, further: Begin) -> Start:
    """A delivery whose release 0.2.0 was cut from develop as it was, and runs in stage."""
    return further(begun_delivery, lambda world: releases.cut(world.settings, "0.2.0", user="developer", progress=world.progress))


@pytest.fixture(scope="session")
def after_prod(begun_delivery: Start, further: Begin) -> Start:
    """A delivery whose release 0.2.0 changed what catalog is told, and runs in prod."""

    def step(world: World) -> None:
        world.put("develop", world.change("feature/x", {"services/catalog/envs/prod.yaml": "a: 2\n"}))
        releases.cut(world.settings, "0.2.0", user="developer", progress=world.progress)
        releases.approve(world.settings, "v0.2.0", user="lead")
        asked = by_hand.Asked(to="prod", release="v0.2.0", user="developer")
        by_hand.promote(world.settings, asked, progress=world.progress)

    return further(begun_delivery, step)


@pytest.fixture
def begun(request: pytest.FixtureRequest) -> Start:
    """What a test begins with: the furthest that it asks for by name."""
    asked = (name for name in ("after_prod", "after_cut", "begun_delivery") if name in request.fixturenames)
    return request.getfixturevalue(next(asked, "begun_delivery"))


@pytest.fixture(scope="session")
def begun_instance(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """An instance whose records a cluster could run."""
    return promoting.start(tmp_path_factory.mktemp("begun"))
