"""`up`: from whatever there is to a whole instance, by steps that each do only what is missing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from slipway import (
    argocd,
    bundle,
    cluster,
    credentials,
    delivery,
    doctor,
    engine,
    genesis,
    gitserver,
    images,
    instance,
    kind,
    names,
    platform,
    pull,
    recipes,
    roles,
)
from slipway.errors import PhaseFailed, UsageError, unknown
from slipway.kube import NOT_YET, Kube, Object, describe, rollout
from slipway.progress import Phase, Progress
from slipway.settings import DEFAULT_INSTANCE, SOURCES, Settings
from slipway.steps import Step, run_steps
from slipway.waiting import wait_for

if TYPE_CHECKING:
    from rich.console import Console

POLLING = "SLIPWAY_POLLING"

# Seconds. Every image is on the node, or in the registry beside it, when these begin.
WORKLOAD_TIMEOUT = 240.0
DELIVERY_TIMEOUT = 240.0

DEFAULT_PROFILE = "full"

# Seconds; a phase that took less had nothing to do.
_WORTH_TELLING = 0.05


@dataclass(frozen=True)
class Made:
    """What `up` made, or found whole.

    Attributes:
        urls: Every address on the host, by what answers there.
        kubeconfig: The cluster admin's.
        secrets: The file with the passwords of this instance.
        seconds: How long it took.
        phases: How long each phase took, in seconds; several run at a time.
    """

    instance: str
    profile: str
    source: str
    urls: Mapping[str, str]
    kubeconfig: str
    secrets: str
    seconds: float
    phases: Mapping[str, float]


def up(
    settings: Settings,
    *,
    source: str = "auto",
    profile: str | None = None,
    progress: Progress,
    record: Callable[[Sequence[Object]], None] | None = None,
) -> Made:
    """The instance, whole: made, repaired or found as it should be.

    Args:
        settings: Which instance.
        source: Where images come from: "auto", "pull" or "build".
        profile: What it holds; what it holds already, or "full", by default.
        progress: Where the phases are shown.
        record: Told every object of the platform that was applied, secrets included.

    Raises:
        UsageError: A name is not valid, or the instance was made with another profile or source.
        Unfit: The machine cannot run it; the message has the numbers.
        PhaseFailed: A phase failed; the message says what was waited for and where the evidence is.
    """
    if source not in SOURCES:
        raise unknown("source", source, SOURCES)
    if profile:
        settings.profile(profile)
    remote = platform.remote_write()
    started = time.monotonic()
    with instance.locked(settings, "up"), progress.showing():
        running = engine.find(settings)
        had = _had(settings, running)
        wanted, chosen = _agreed(settings, had, profile, source)
        doctor.require(settings, profile=wanted, source=chosen.source, progress=progress)
        found = engine.connect(settings, progress=progress)
        if running is None and (had := _had(settings, found)):  # an engine that stood still could not be asked before
            wanted, chosen = _agreed(settings, had, profile, source)
        if source == "auto" and not had:
            progress.note(f"source: {chosen.source}, because {chosen.why}")
        begun = genesis.origin(settings)
        if begun.dirty and not had:
            progress.note("uncommitted changes are not delivered: an instance begins with the last commit")
        work = _Work(settings, found, wanted, chosen.source, remote, fresh=not had)
        try:
            run_steps(work.steps(), progress)
        except PhaseFailed as failure:
            raise _with_evidence(work, failure) from failure
    if record:
        record(work.applied)
    facts = instance.Facts(wanted, chosen.source)
    return Made(
        instance=settings.instance,
        profile=wanted,
        source=chosen.source,
        urls=instance.urls(settings, facts, work.node.http_port),
        kubeconfig=str(settings.kubeconfig),
        secrets=str(credentials.file(settings)),
        seconds=round(time.monotonic() - started, 1),
        phases={name: round(seconds, 1) for name, seconds in progress.timings.items() if seconds >= _WORTH_TELLING},
    )


def _had(settings: Settings, found: engine.Engine | None) -> instance.Facts | None:
    node = cluster.find(settings, found) if found else None
    return node.facts if node else None


def _agreed(settings: Settings, had: instance.Facts | None, profile: str | None, source: str) -> tuple[str, pull.Choice]:
    """The profile and the source: what the instance was made with, else what was asked for."""
    if had is None:
        return profile or DEFAULT_PROFILE, pull.choose(source, settings)
    for what, has, asked in (("profile", had.profile, profile or had.profile), ("source", had.source, source)):
        if asked not in (has, "auto"):
            raise UsageError(
                f"instance {settings.instance!r} has the {what} {has}. Run `./invoke down` first to make it with the {what} "
                f"{asked}, or give the other one a name: ./invoke up --name NAME --{what} {asked}"
            )
    return had.profile, pull.choose(had.source, settings)


class _Work:
    """The steps of one `up`, and what they hand to each other."""

    def __init__(
        self,
        settings: Settings,
        found: engine.Engine,
        profile: str,
        source: str,
        remote: platform.RemoteWrite | None,
        *,
        fresh: bool,
    ) -> None:
        self.settings, self.engine, self.source, self.remote, self.fresh = settings, found, source, remote, fresh
        self.profile = settings.profile(profile)
        self.commit = genesis.origin(settings).commit
        self.secrets = credentials.keep(settings)
        self.plan = recipes.plan(settings, found, source)
        self.applied: list[Object] = []
        self.images: Mapping[str, genesis.Image] = {}
        self.first: Mapping[str, str] = {}
        self.node: cluster.Node

    @cached_property
    def kube(self) -> Kube:
        """The cluster, as its admin; there is one once the step "cluster" is done."""
        return Kube(self.settings.kubeconfig, self.settings.context)

    def steps(self) -> list[Step]:
        """Every step, with what it needs."""
        stock = self.source == "pull"
        bases = () if stock else ("image python-build",)  # upstream's Python has what installs packages
        parts: dict[str, tuple[Callable[[Phase], None], tuple[str, ...]]] = {
            "storage": (self._storage, () if stock else ("local-path",)),
            "git server": (self._git_server, ("git-server",)),
            "gateway": (self._gateway, ("git-server",)),
            "argo cd": (self._argocd, ("argocd", "valkey")),
        }
        if self.profile.monitoring:
            parts["monitoring"] = self._monitoring, ("prometheus", "alertmanager", "kube-state-metrics")
        return [
            *self.plan.steps,
            Step("cluster", self._cluster, ("tool kind", "image node", "node store")),
            Step("accounts", self._accounts, ("cluster", "registry")),
            *(
                Step(name, do, ("tool helm", *(f"image {image}" for image in images), "accounts"))
                for name, (do, images) in parts.items()
            ),
            Step("projects", self._projects, ("argo cd",)),
            Step("service images", self._service_images, ("image python", *bases, "registry")),
            Step("first records", self._first_records, ("service images", "git server", "gateway", "storage")),
            Step("delivery", self._delivery, ("first records", "projects")),
            Step("platform", self._platform, (*parts, "projects")),
        ]

    def _cluster(self, phase: Phase) -> None:
        self.node = cluster.ensure(
            self.settings,
            self.engine,
            kind_tool=self.plan.tool("kind"),
            image=self.plan.image("node"),
            mounts=self.plan.mounts,
            facts=instance.Facts(self.profile.name, self.source),
            phase=phase,
        )

    def _accounts(self, phase: Phase) -> None:
        container = self.engine.container(self.node.name)
        cluster.trust_registry(container, registry=self.plan.registry.name, mirror=self.plan.registry.inner_url)
        self._apply(roles.manifests(self.settings, self.profile.environments))
        cluster.publish_registry(self.kube, registry=self.plan.registry.name)
        roles.write_kubeconfigs(self.settings, self.kube)
        cluster.wait_node_ready(self.settings, self.kube, phase)

    def _storage(self, phase: Phase) -> None:
        if self.source == "pull":
            phase.skip("kind's own node brings it")
            return
        image = self.plan.provide("local-path")
        self._apply(platform.storage(self.settings, image=image, helper=image, helm_program=self.plan.tool("helm")))

    def _git_server(self, phase: Phase) -> None:
        del phase
        self._apply(
            gitserver.manifests(
                self.settings, image=self.plan.provide("git-server"), helm_program=self.plan.tool("helm"), secrets=self.secrets
            )
        )

    def _gateway(self, phase: Phase) -> None:
        del phase
        self._apply(platform.gateway(self.settings, image=self.plan.provide("git-server"), helm_program=self.plan.tool("helm")))

    def _argocd(self, phase: Phase) -> None:
        self._apply(
            argocd.manifests(
                self.settings,
                source=self.source,
                image=self.plan.provide("argocd"),
                cache_image=self.plan.provide("valkey"),
                secrets=self.secrets,
                polling=os.environ.get(POLLING, argocd.DEFAULT_POLLING),
            )
        )
        phase.say("kinds established")
        delivery.wait_for_kinds(self.kube)

    def _projects(self, phase: Phase) -> None:
        del phase
        self._apply(delivery.manifests(self.settings, self.profile.environments))

    def _monitoring(self, phase: Phase) -> None:
        images = {name: self.plan.provide(name) for name in ("prometheus", "alertmanager", "kube-state-metrics")}
        self._apply(
            platform.monitoring(
                self.settings,
                images=images,
                port=self.node.http_port,
                remote=self.remote,
                helm_program=self.plan.tool("helm"),
            )
        )
        if self.remote:
            phase.say(f"sends a copy to {self.remote.url}")

    def _service_images(self, phase: Phase) -> None:
        if not self.fresh:
            phase.skip("what runs is what Git records")
            return
        self.images = self._build_services(phase)
        phase.say(", ".join(f"{name} {image.digest[:19]}" for name, image in self.images.items()))

    def _build_services(self, phase: Phase) -> Mapping[str, genesis.Image]:
        made: dict[str, genesis.Image] = {}
        with genesis.source(self.settings, self.commit, ["services"]) as taken:
            for service in self.settings.services:
                built = images.build_service(
                    self.settings,
                    self.engine,
                    self.plan.registry,
                    service=service,
                    context=taken.folder / "services",
                    base=self.plan.image("python"),
                    build_base=self.plan.image("python-build"),
                    version=genesis.VERSION,
                    commit=self.commit,
                    phase=phase,
                )
                made[service] = genesis.Image(built.repository, built.digest)
        return made

    def _first_records(self, phase: Phase) -> None:
        port = self.node.http_port
        for item in self._workloads():
            if item["metadata"]["namespace"] == names.SYSTEM:  # one that still answers may be on its way out
                self._wait_rollout(item, phase)
        wait_for("the Git server", lambda: gitserver.answers(port), timeout=WORKLOAD_TIMEOUT, on_change=phase.say)
        records = {self.settings.environment(name).repository for name in self.profile.environments}
        remotes = {
            name: gitserver.remote(name, port=port, user="pipeline", secrets=self.secrets)
            for name in (gitserver.APP, *sorted(records))
        }
        seeded = genesis.seed_app(self.settings, remotes.pop(gitserver.APP), self.commit)
        empty = genesis.empty(remotes)
        if not (seeded or empty):
            phase.skip("the repositories have content")
            return
        self.first = genesis.seed_records(
            self.settings,
            empty,
            commit=self.commit,
            environments=self.profile.environments,
            images=self.images or self._build_services(phase),
            version=genesis.VERSION,
            helm_program=self.plan.tool("helm"),
        )
        phase.say(f"from commit {self.commit[:9]}")

    def _delivery(self, phase: Phase) -> None:
        for name in self.profile.environments:
            environment = self.settings.environment(name)
            commit = self.first.get(environment.repository, "")
            expected = self.settings.services if commit else ()
            wait_for(
                f"{name} to run what Git records" + (f" in commit {commit[:9]}" if commit else ""),
                lambda name=name, commit=commit, expected=expected: delivery.settled(self.kube, name, expected, commit=commit),
                timeout=DELIVERY_TIMEOUT,
                tolerate=NOT_YET,
                on_change=phase.say,
                hint=f"Look at `./invoke status` and at {names.url('argocd', port=self.node.http_port)}.",
            )
            phase.say(f"{name} is delivered")

    def _platform(self, phase: Phase) -> None:
        workloads = self._workloads()
        instance.publish(self.kube, workloads)
        for done, item in enumerate(workloads):
            phase.parts(done, len(workloads))
            self._wait_rollout(item, phase)
        phase.say(f"{len(workloads)} parts ready")

    def _workloads(self) -> list[Object]:
        return [item for item in list(self.applied) if item["kind"] in ("Deployment", "StatefulSet")]

    def _wait_rollout(self, item: Object, phase: Phase) -> None:
        meta = item["metadata"]
        wait_for(
            describe(item),
            lambda: rollout(self.kube.get(item["kind"], meta["name"], namespace=meta["namespace"], api_version="apps/v1")),
            timeout=WORKLOAD_TIMEOUT,
            tolerate=NOT_YET,
            on_change=lambda why: phase.say(f"{describe(item)}: {why}"),
        )

    def _apply(self, objects: Sequence[Object]) -> None:
        self.kube.apply(objects)
        self.applied.extend(objects)


def _with_evidence(work: _Work, failure: PhaseFailed) -> PhaseFailed:
    settings = work.settings
    folder = bundle.new_folder(settings)
    made = settings.kubeconfig.is_file() and work.kube.healthy()

    def node_logs(target: Path) -> None:
        if work.engine.container(settings.node):
            kind.export_logs(work.plan.tool("kind"), name=settings.instance, folder=target, env=work.engine.environment)

    causes = bundle.collect(
        folder,
        work.kube if made else None,
        waited_for=str(failure),
        node_logs=node_logs,
    )
    listed = "\n".join(["Likely causes:", *(f"  {cause}" for cause in causes)]) if causes else ""
    again = "`./invoke up` goes on from here once the cause is mended; `./invoke down` removes what there is."
    return PhaseFailed(failure.phase, failure.cause, bundle=folder, hint="\n".join(line for line in (listed, again) if line))


def show(made: Made, console: Console) -> None:
    """Print it for a person: the addresses, and what to do next."""
    console.print(f"\n{made.instance} is ready after {made.seconds:.0f} s.\n")
    width = max(map(len, made.urls))
    for name, url in made.urls.items():
        console.print(f"  {name:<{width}}  {url}", markup=False)
    console.print(f"\n  users developer, lead and pipeline; passwords: {made.secrets}", markup=False)
    name = "" if made.instance == DEFAULT_INSTANCE else f" --name {made.instance}"
    console.print(f"\nNext: ./invoke status{name}")
