"""One load test from its begin to its end: look, send, look again, balance the books, tidy up, judge, keep."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from slipway import access, git, names
from slipway.access import Access
from slipway.errors import SlipwayError, UsageError
from slipway.kube import NOT_YET, Kube
from slipway.load import (
    around,
    books,
    changing,
    counters,
    data,
    during,
    generator,
    keeping,
    measuring,
    origin,
    pods,
    profiles,
    thresholds,
    verdict,
)
from slipway.load import plan as planning
from slipway.load.changing import Environmental
from slipway.load.evidence import Evidence
from slipway.load.model import ENVIRONMENT_CODE, Asked, Client, Plan, Pod, Pods, Run, Second, Server, Target
from slipway.progress import Phase, Progress
from slipway.prometheus import NoAnswer, Prometheus, Series
from slipway.settings import Settings


@dataclass(frozen=True)
class Place:
    """Where a test runs, as this command reaches it."""

    access: Access
    kube: Kube
    origin: origin.Origin
    prometheus: Prometheus
    target: Target
    plan: Plan
    nodes: Mapping[str, str]
    limits: tuple[thresholds.Threshold, ...]
    rules: Mapping[str, str]

    @property
    def settings(self) -> Settings:
        """The instance's."""
        return self.access.settings

    def pods(self) -> tuple[Pod, ...]:
        """The pods under test now."""
        return pods.look(self.kube.list("Pod", namespace=self.target.environment), self.target.digests)


def run(settings: Settings, asked: Asked, progress: Progress) -> Run:
    """A load test, judged.

    Args:
        settings: The instance's.
        asked: What somebody asked for.
        progress: Shows how it goes.

    Raises:
        SlipwayError: There is nothing to test, or the generator did not begin: no verdict then, and exit code 3.
    """
    try:
        return _run(settings, asked, progress)
    except UsageError:
        raise
    except SlipwayError as error:
        if error.exit_code == ENVIRONMENT_CODE:
            raise
        raise Environmental(str(error)) from error
    except (*NOT_YET, OSError) as error:
        why = " ".join(str(error).split())[:300]
        raise Environmental(
            f"the test could not be made ({type(error).__name__}: {why}). `{settings.command('status')}` looks further."
        ) from error


def _run(settings: Settings, asked: Asked, progress: Progress) -> Run:
    identifier, began = planning.identify(), datetime.now(UTC)
    with progress.showing():
        with progress.phase("look at what runs") as phase:
            place = _look(settings, asked)
            before = place.pods()
            if not before:
                raise Environmental(f"nothing runs in {asked.environment}. `{settings.command('status')}` says why.")
            phase.say(f"{len(before)} pods of {place.target.release or place.target.commit[:9]} in {asked.environment}")
        if place.origin.note:
            progress.note(place.origin.note)
        machine = around.host()
        with progress.phase("load generator") as phase:
            image = "on the host" if asked.local else place.access.plan.make("load", place.access.registry, phase)
            phase.say(image)
        orders: int | None = 0
        try:
            evidence = _driven(place, asked, identifier, before, image=image, progress=progress)
        finally:
            # Whatever came of the test, its orders are nobody's.
            if not asked.keep:
                with progress.phase("tidy up") as phase:
                    orders = _tidied(place, identifier, phase)
    client = replace(evidence.client, removed={} if asked.keep else {**evidence.client.removed, "orders": orders})
    tools = around.tools(settings, image)
    made = Run(
        id=identifier,
        time=began.strftime("%Y-%m-%dT%H:%M:%SZ"),
        tools=tools,
        host=machine,
        plan=place.plan,
        target=place.target,
        client=client,
        server=evidence.server,
        pods=evidence.pods,
        books=evidence.books,
        verdict=verdict.judge(evidence),
        comparable=planning.comparable(place.plan, place.target, machine, tools),
        rules=place.rules,
        change=evidence.change,
    )
    keeping.keep(settings, made)
    return made


def _driven(place: Place, asked: Asked, identifier: str, before: tuple[Pod, ...], *, image: str, progress: Progress) -> Evidence:
    """What everybody saw of the load; its data are still there."""
    environment = asked.environment
    with books.Finder(place.kube, environment, place.target.digests, identifier, each=planning.each(place.plan)) as finder:
        sending = datetime.now(UTC).timestamp()
        with progress.phase(f"load {asked.profile}") as phase:
            change = changing.Changing(_work(place, asked, progress))
            client = _send(place, asked, identifier, image=image, phase=phase, change=change)
            afterwards = change.end()
        with progress.phase("books") as phase:
            found = finder.found(client.sampled)
            server, served = _measured(place, client, sending)
            rows = books.order_rows(place.kube, environment, identifier)
            closed = books.close(client, found=found, rows=rows, served=served)
            phase.say(f"{found} of {len(client.sampled)} request ids, {rows} rows of {client.orders_accepted} orders")
    after = place.pods()
    rolled = pods.rollouts(before, after, client.began, client.ended, _scraped(place, client.began))
    seen = Pods(before, after, rolled, _limits(place))
    return Evidence(place.plan, place.target, client, server, seen, closed, place.limits, afterwards, change.made)


def _tidied(place: Place, identifier: str, phase: Phase) -> int | None:
    """How many orders of the test were removed; None when that could not be done."""
    removed = data.remove_orders(place.kube, place.target.environment, books.prefix(identifier))
    if removed is None:
        phase.fail(f"PostgreSQL in {place.target.environment} did not remove the orders of load-{identifier}: they stay there")
    else:
        phase.say(f"{removed} orders")
    return removed


def _look(settings: Settings, asked: Asked) -> Place:
    rules = {str(path): git.hashed(settings.root / path) for path in (profiles.FILE, thresholds.FILE)}
    asked = replace(asked, streams=asked.streams or during.STREAMS) if asked.during else asked
    plan = planning.make(profiles.find(settings.root / profiles.FILE, asked.profile), asked)
    nodes = planning.nodes(asked)
    endpoints = thresholds.endpoints(settings.root, settings.services)
    file = settings.root / thresholds.FILE
    limits = thresholds.load(file, asked.environment, environments=settings.environments, services=endpoints)
    kube = origin.admin(settings)
    try:
        found = access.open(settings)
        source = origin.find(found, asked, kube)
    except UsageError as error:  # there is no instance, or it does not run
        raise Environmental(str(error)) from error
    prometheus = Prometheus(names.url("prometheus", port=found.port), timeout=measuring.TIMEOUT)
    return Place(
        found,
        kube,
        source,
        prometheus,
        around.target(found, asked, source.addresses),
        plan,
        nodes,
        during.strict(limits) if asked.during else limits,
        rules,
    )


def _send(place: Place, asked: Asked, identifier: str, *, image: str, phase: Phase, change: changing.Changing) -> Client:
    """What the generator saw."""
    teller = Teller(place.plan, phase)

    def on_second(second: Second) -> None:
        teller.tell(second)
        if second.phase in {one.name for one in place.plan.phases if one.counted}:
            change.begin()

    folder = keeping.folder(place.settings, identifier)
    folder.mkdir(parents=True, exist_ok=True)
    hosts = place.origin.hosts
    order = planning.order(place.plan, identifier, place.target.addresses, hosts=hosts, keep=asked.keep)
    if place.origin.kube is None:
        client = generator.on_host(
            place.settings, run=identifier, order=order, plan=place.plan, folder=folder, on_second=on_second, phase=phase
        )
    else:
        client = generator.in_cluster(
            place.origin.kube,
            place.settings,
            helm_program=place.access.helm,
            image=image,
            run=identifier,
            order=order,
            plan=place.plan,
            folder=folder,
            on_second=on_second,
            phase=phase,
            nodes=place.nodes,
        )
    teller.close(client)
    return client


def _work(place: Place, asked: Asked, progress: Progress) -> during.Work | None:
    """What is to be changed meanwhile."""
    if not asked.during:
        return None
    return during.work(
        place.access,
        place.kube,
        asked.environment,
        asked.during,
        release=asked.release,
        user=asked.user,
        progress=progress,
    )


class Teller:
    """The live line of a test: how fast, how well, which phase, how long yet."""

    def __init__(self, plan: Plan, phase: Phase) -> None:
        self._plan, self._phase, self._failed = plan, phase, 0
        self._began = 0.0
        phase.say("the generator starts")

    def tell(self, second: Second) -> None:
        """Show a second."""
        self._began = self._began or second.at
        self._failed += second.failures
        passed = second.at + 1 - self._began
        left = max(0.0, self._plan.seconds - passed)
        times = " ".join(f"{1000 * value:.0f}" if value is not None else "-" for value in (second.p50, second.p95, second.p99))
        self._phase.parts(int(passed), int(self._plan.seconds))
        self._phase.say(
            f"{second.phase}: {second.requests}/s, {self._failed} failed, p50 p95 p99 {times} ms, "
            f"{second.in_flight} under way, {left:.0f} s left"
        )

    def close(self, client: Client) -> None:
        """Show what came of it all."""
        requests = sum(second.requests for second in client.seconds)
        failures = sum(second.failures for second in client.seconds)
        ok = sum(journey.ok for journey in client.journeys)
        planned = sum(journey.planned for journey in client.journeys)
        self._phase.parts(0, 0)
        self._phase.say(f"{ok} of {planned} journeys well, {failures} of {requests} requests failed")


def _measured(place: Place, client: Client, sending: float) -> tuple[Server, books.Served | None]:
    """What Prometheus saw, and how many requests the services counted since the generator began to send."""
    environment, services = place.target.environment, tuple(sorted(place.target.digests))
    limits = _limits(place)
    limited = [service for service, cores in limits.items() if cores is not None]
    settled = measuring.settle(place.prometheus, environment, client.ended, limited=limited)
    until = datetime.now(UTC).timestamp()
    counted = place.plan.counted or ((0.0, place.plan.seconds),)
    asked = measuring.Asked(
        environment,
        services,
        # Who never answered has nothing to count, whatever it was sent.
        frozenset(one.service for one in client.endpoints if one.requests and client.answered.get(one.service)),
        begin=client.began,
        end=client.ended,
        until=until,
        limits=limits,
        since=client.began + min(begin for begin, _ in counted),
        judged=client.began + max(end for _, end in counted),
    )
    server = measuring.measure(place.prometheus, asked)
    if settled:
        server = replace(server, missing=(*server.missing, settled))
    return server, books.served(place.prometheus, environment, sending, until)


def _limits(place: Place) -> Mapping[str, float | None]:
    return pods.limits(place.kube.list("Pod", namespace=place.target.environment), tuple(sorted(place.target.digests)))


def _scraped(place: Place, begin: float) -> Sequence[Series]:
    """What Prometheus scraped of the pods meanwhile; nothing when it does not answer, which whoever measures has told."""
    selector = measuring.scrapes(place.target.environment)
    with contextlib.suppress(NoAnswer):
        return counters.taken(place.prometheus, selector, begin, datetime.now(UTC).timestamp())
    return ()
