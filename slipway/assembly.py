"""What `up` puts together, step by step: each step does only what is missing, and says what it needs before."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

from slipway import (
    admission,
    agent,
    argocd,
    artifacts,
    cluster,
    credentials,
    delivery,
    engine,
    gateway,
    genesis,
    git,
    gitserver,
    images,
    instance,
    names,
    platform,
    recipes,
    registry,
    roles,
    stores,
)
from slipway.bundle import pod_trouble
from slipway.errors import SlipwayError
from slipway.kube import NOT_YET, Kube, Object, describe, rollout
from slipway.progress import Phase
from slipway.settings import Settings
from slipway.steps import Step
from slipway.waiting import Pending, Ready, wait_for

POLLING = "SLIPWAY_POLLING"

# Seconds. Every image is on the node, or in the registry beside it, when these begin.
WORKLOAD_TIMEOUT = 240.0
DELIVERY_TIMEOUT = 240.0

# Images of services built at a time: much of a build is waiting for the engine.
_BUILDERS = 4


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
        self.services: Sequence[genesis.Part] = ()
        self.first: Mapping[str, str] = {}
        self.node: cluster.Node

    @cached_property
    def kube(self) -> Kube:
        """The cluster, as its admin; there is one once the step "cluster" is done."""
        return Kube(self.settings.kubeconfig, self.settings.context)

    def steps(self) -> list[Step]:
        """Every step, with what it needs."""
        stock = self.source == "pull"
        parts: dict[str, tuple[Callable[[Phase], None], tuple[str, ...]]] = {
            "storage": (self._storage, () if stock else ("local-path",)),
            "git server": (self._git_server, ("git-server", "argocd")),
            "gateway": (self._gateway, ("git-server",)),
            "argo cd": (self._argocd, ("argocd", "valkey")),
        }
        if self.profile.monitoring:
            parts["monitoring"] = self._monitoring, ("prometheus", "alertmanager", "kube-state-metrics")
        images_there = "service images", "store images"
        return [
            *self.plan.steps,
            Step("cluster", self._cluster, ("tool kind", "image node", "node store")),
            Step("accounts", self._accounts, ("cluster", "registry")),
            Step("admission", self._admission, ("accounts",)),
            *(
                Step(name, do, ("tool helm", *(f"image {image}" for image in images), "accounts"))
                for name, (do, images) in parts.items()
            ),
            Step("projects", self._projects, ("argo cd",)),
            Step("service images", self._service_images, ("image python", "registry")),
            Step("store images", self._store_images, (*(f"image {name}" for name in self.settings.stores), "registry")),
            Step("first records", self._first_records, (*images_there, "git server", "gateway", "storage", "admission")),
            Step("delivery", self._delivery, ("first records", "projects")),
            Step("platform", self._platform, (*parts, "projects")),
            Step("runner", self._runner, ("image runner", "first records", "tool helm", "platform")),
        ]

    def _cluster(self, phase: Phase) -> None:
        blueprint = cluster.Blueprint(
            kind_tool=self.plan.tool("kind"),
            image=self.plan.image("node"),
            mounts=self.plan.mounts,
            facts=instance.Facts(self.profile.name, self.source),
        )
        self.node = cluster.ensure(self.settings, self.engine, blueprint, phase=phase)

    def _accounts(self, phase: Phase) -> None:
        container = self.engine.container(self.node.name)
        cluster.trust_registry(container, registry=self.plan.registry.name, mirror=self.plan.registry.inner_url)
        cluster.keep_calls_inside(self.settings, container)
        self._apply(roles.manifests(self.settings, self.profile.environments))
        self._apply(stores.manifests(self.settings, self.profile.environments, self.secrets))
        cluster.publish_registry(self.kube, registry=self.plan.registry.name)
        roles.write_kubeconfigs(self.settings, self.kube)
        cluster.wait_node_ready(self.settings, self.engine, self.kube, phase)

    def _admission(self, phase: Phase) -> None:
        rules = admission.manifests(self.settings, self.profile.environments)
        if not rules:
            phase.skip("no environment asks for approval")
            return
        self.kube.apply(rules)  # not noted: whoever applies all that was noted elsewhere has no lists, and would be refused
        admission.wait_until_active(self.kube, admission.guarded(self.settings, self.profile.environments), on_change=phase.say)

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
                self.settings,
                image=self.plan.provide("git-server"),
                tools_image=self.plan.provide("argocd"),
                helm_program=self.plan.tool("helm"),
                secrets=self.secrets,
            )
        )

    def _gateway(self, phase: Phase) -> None:
        del phase
        self._apply(
            platform.gateway(
                self.settings,
                image=self.plan.provide("git-server"),
                source=self.source,
                repositories=gitserver.repositories(self.settings),
                helm_program=self.plan.tool("helm"),
            )
        )

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
        self.services = self._build_services(phase)
        phase.say(", ".join(f"{part.name} {part.digest[7:15]}" for part in self.services))

    def _build_services(self, phase: Phase) -> Sequence[genesis.Part]:
        base, build_base = self.plan.image("python"), self.plan.image("python-build")
        with genesis.source(self.settings, self.commit) as taken:

            def build(service: str) -> genesis.Part:
                built = images.build_service(
                    self.settings,
                    self.engine,
                    self.plan.registry,
                    service=service,
                    context=taken.folder / "services",
                    base=base,
                    build_base=build_base,
                    version=genesis.VERSION,
                    commit=self.commit,
                    phase=phase,
                )
                if self.fresh:
                    images.begin_versions(built, genesis.VERSION)
                inputs = artifacts.inputs(taken, service, base=base, build_base=build_base)
                return genesis.Part(service, genesis.VERSION, built.repository, built.digest, inputs=inputs)

            with ThreadPoolExecutor(_BUILDERS) as pool:
                return list(pool.map(build, self.settings.services))

    def _store_images(self, phase: Phase) -> None:
        phase.say(
            ", ".join(images.publish(self.engine, self.plan.registry, self.plan.image(name)) for name in self.settings.stores)
        )

    def _stores(self) -> Sequence[genesis.Part]:
        made: list[genesis.Part] = []
        for name in self.settings.stores:
            full = images.canonical(self.plan.registry, self.plan.image(name))
            repository, _, version = full.rpartition(":")
            digest = registry.digest(full)
            if digest is None:
                raise SlipwayError(f"the registry does not hold {full} any more. Run `{self.settings.command('up')}` again.")
            made.append(genesis.Part(name, version.rpartition("-")[0], repository, digest, chart=name))
        return made

    def _first_records(self, phase: Phase) -> None:
        port = self.node.http_port
        for item in self._workloads():
            if item["metadata"]["namespace"] == names.SYSTEM:  # one that still answers may be on its way out
                self._wait_rollout(item, phase)
        git_host = names.host_name("git")
        wait_for("the Git server", lambda: gateway.answers(port, git_host), timeout=WORKLOAD_TIMEOUT, on_change=phase.say)
        records = {self.settings.environment(name).repository for name in self.profile.environments}
        remotes = {
            name: gitserver.remote(name, port=port, user="pipeline", secrets=self.secrets)
            for name in (gitserver.APP, *sorted(records))
        }
        app = remotes.pop(gitserver.APP)
        seeded = genesis.seed_app(self.settings, app, self.commit)
        empty = genesis.empty(remotes)
        if not (seeded or empty):
            self._approve(remotes, (), phase)
            phase.skip("the repositories have content")
            return
        began = genesis.began(self.settings, app)
        if began != self.commit:
            self.commit, self.services = began, ()
        parts = [*(self.services or self._build_services(phase)), *self._stores()]
        self._approve({name: remote for name, remote in remotes.items() if name not in empty}, parts, phase)
        self.first = genesis.seed_records(
            self.settings,
            empty,
            commit=self.commit,
            environments=self.profile.environments,
            parts=parts,
            helm_program=self.plan.tool("helm"),
            key=credentials.signing_key(self.settings, "pipeline"),
        )
        phase.say(f"from commit {self.commit[:9]}")

    def _approve(self, recorded: Mapping[str, git.Remote], parts: Sequence[genesis.Part], phase: Phase) -> None:
        """See to it that stage and prod admit what Git records or is about to, and nothing that it never did."""
        for name in admission.guarded(self.settings, self.profile.environments):
            repository = self.settings.environment(name).repository
            if repository not in recorded:
                references = {f"{part.repository}@{part.digest}" for part in parts}
            elif admission.missing(self.kube, name):
                references = admission.recorded(self.settings, recorded[repository], name)
            else:
                if left := admission.tidy(self.settings, self.kube, recorded[repository], name):
                    phase.say(f"{name} admits {len(left)} images no more that were never recorded")
                continue
            admission.approve(self.kube, name, references, on_change=phase.say)
            phase.say(f"{name} admits {len(references)} images")

    def _delivery(self, phase: Phase) -> None:
        for name in self.profile.environments:
            environment = self.settings.environment(name)
            commit = self.first.get(environment.repository, "")
            expected = self.settings.delivered if commit else ()
            wait_for(
                f"{name} to run what Git records" + (f" in commit {commit[:9]}" if commit else ""),
                lambda name=name, commit=commit, expected=expected: delivery.settled(self.kube, name, expected, commit=commit),
                timeout=DELIVERY_TIMEOUT,
                tolerate=NOT_YET,
                on_change=phase.say,
                hint=f"Look at `{self.settings.command('status')}` and at {names.url('argocd', port=self.node.http_port)}.",
            )
            phase.say(f"{name} is delivered")

    def _platform(self, phase: Phase) -> None:
        # Without these, what the cluster says of all the others is of before.
        wait_for("the control plane", self._controlled, timeout=WORKLOAD_TIMEOUT, tolerate=NOT_YET, on_change=phase.say)
        workloads = self._workloads()
        instance.publish(self.kube, workloads)
        for done, item in enumerate(workloads):
            phase.parts(done, len(workloads))
            self._wait_rollout(item, phase)
        phase.say(f"{len(workloads)} parts ready")

    def _controlled(self) -> Ready[None] | Pending:
        pods = cluster.control_plane(self.kube.list("Pod", namespace="kube-system"))
        ill = [f"{describe(pod)}: {why}" for pod in pods if (why := pod_trouble(pod))]
        return Pending(ill[0]) if ill else Ready(None)

    def _runner(self, phase: Phase) -> None:
        image, helm = self.plan.image("runner"), self.plan.tool("helm")
        agent.ensure(self.settings, self.engine, image=image, helm=helm, secrets=self.secrets, phase=phase)

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
