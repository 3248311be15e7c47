"""What `up` puts together, step by step: each step does only what is missing, and says what it needs before."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

from slipway import (
    argocd,
    cluster,
    credentials,
    delivery,
    engine,
    genesis,
    gitserver,
    images,
    instance,
    names,
    platform,
    recipes,
    roles,
)
from slipway.kube import NOT_YET, Kube, Object, describe, rollout
from slipway.progress import Phase
from slipway.settings import Settings
from slipway.steps import Step
from slipway.waiting import wait_for

POLLING = "SLIPWAY_POLLING"

# Seconds. Every image is on the node, or in the registry beside it, when these begin.
WORKLOAD_TIMEOUT = 240.0
DELIVERY_TIMEOUT = 240.0


class Assembly:
    """The steps of one `up`, and what they hand to each other.

    Args:
        settings: Which instance.
        found: The engine it runs in.
        profile: What it holds.
        source: Where its images come from, "build" or "pull".
        remote: A third party's service that gets a copy of every sample.
        commit: The checkout's, with which a new instance begins.
        fresh: Whether it is made now; one that was there keeps what Git records.
    """

    def __init__(
        self,
        settings: Settings,
        found: engine.Engine,
        profile: str,
        source: str,
        remote: platform.RemoteWrite | None,
        *,
        commit: str,
        fresh: bool,
    ) -> None:
        self.settings, self.engine, self.source, self.remote, self.fresh = settings, found, source, remote, fresh
        self.profile = settings.profile(profile)
        self.commit = commit
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
