"""A whole delivery without a cluster: three real repositories, the real policy and promotions; pods are what was promoted."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from slipway import access, credentials, git, gitops, oci, policy, promotion, pushlog, releases, runs
from slipway.access import Access
from slipway.errors import SlipwayError
from slipway.gitops import Entry, Record
from slipway.instance import Facts
from slipway.kube import Kube
from slipway.progress import Phase, Progress
from slipway.promotion import Change, NotRunning, deploying
from slipway.settings import Settings, load
from tests.delivery.receiving import APP, NONPROD, PROD, SERVICES, Site
from tests.unit.fake_registry import HOST, FakeRegistry
from tests.unit.fakes import Screen

HEADS = "refs/heads/"


@dataclass(frozen=True)
class Reach(Access):
    """An instance whose repositories are folders."""

    site: Site = field(default=cast("Site", None))
    cluster: Pods = field(default=cast("Pods", None))

    def remote(self, repository: str) -> git.Remote:
        return git.Remote(str(self.site.bare(repository)), self.user)

    @cached_property
    def kube(self) -> Kube:  # type: ignore[override]
        return cast("Kube", self.cluster)

    @cached_property
    def helm(self) -> Path:  # type: ignore[override]
        return self.site.helm


class Pods:
    """What runs where: exactly what arrived there."""

    def __init__(self) -> None:
        self.running: dict[tuple[str, str], str] = {}
        self.ill: set[str] = set()
        self.admitted: list[tuple[str, str]] = []
        self.waited: list[tuple[str, tuple[str, ...]]] = []

    def list(self, kind: str, *, namespace: str) -> list[dict[str, Any]]:
        assert kind == "Pod"
        return [
            {
                "metadata": {"name": f"{service}-1", "labels": {"app.kubernetes.io/name": service}},
                "status": {"phase": "Running", "containerStatuses": [{"imageID": f"{HOST}/{service}@{digest}"}]},
            }
            for (environment, service), digest in self.running.items()
            if environment == namespace
        ]

    def arrive(self, _: Access, environment: str, entries: Sequence[Entry], *__: object, **___: object) -> Mapping[str, str]:
        self.waited.append((environment, tuple(entry.record.service for entry in entries)))
        for entry in entries:
            if environment in self.ill and entry.record.version != "0.1.0":
                raise NotRunning(f"{entry.record.service}: CrashLoopBackOff")
            self.running[entry.record.key] = entry.record.digest
        return {entry.record.service: entry.record.digest for entry in entries}

    def admit(self, _: Access, environment: str, entries: Sequence[Entry]) -> None:
        self.admitted += [(environment, entry.record.digest) for entry in entries]


class World:
    """A site with people, a runner that takes every push at once, and a registry.

    Args:
        site: The repositories.
        settings: Of the instance whose keys sign.
        monkeypatch: Puts the world in the place of the real one.
        hooks: Whether the Git server's own hooks judge every push; it writes the same push log either way.
    """

    def __init__(self, site: Site, settings: Settings, monkeypatch: pytest.MonkeyPatch, *, hooks: bool = False) -> None:
        self.site, self.settings, self._monkeypatch = site, settings, monkeypatch
        self.pods, self.registry = Pods(), FakeRegistry(monkeypatch)
        self.log = list(pushlog.parse((site.bare(APP) / "slipway" / "pushes.jsonl").read_text()))
        self.runner, self.ran = True, 0
        self.before_push: list[Callable[[], None]] = []
        self._push = git.push
        self._read: dict[str, Mapping[tuple[str, str], Entry]] = {}
        if hooks:
            for repository in (APP, PROD, NONPROD):
                subprocess.run(
                    ["git", "-C", site.bare(repository), "config", "core.hooksPath", site.folder / "hooks"], check=True
                )
            for name, value in {"CODE": "slipway.zip", "RULES": "rules.json", "HOOKS": "hooks.json"}.items():
                monkeypatch.setenv(f"SLIPWAY_{name}", str(site.folder / "hooks" / value))
        monkeypatch.setattr(access, "open", self.open)
        monkeypatch.setattr(pushlog, "push_log", lambda _: list(self.log))
        monkeypatch.setattr(git, "push", self.push)
        monkeypatch.setattr(deploying, "arrive", self.pods.arrive)
        monkeypatch.setattr(deploying, "causes", lambda *_: ())
        monkeypatch.setattr(deploying, "admit", self.pods.admit)
        for key, entry in self.records().items():
            self.pods.running[key] = entry.record.digest

    @property
    def progress(self) -> Progress:
        return Screen().progress

    def open(self, settings: Settings, user: str = "pipeline") -> Reach:
        assert settings.instance == self.settings.instance
        secrets = credentials.keep(self.settings)
        return Reach(self.settings, user, 8080, secrets, Facts("full", "build"), cast("Any", None), self.site, self.pods)

    def records(self) -> dict[tuple[str, str], Entry]:
        found: dict[tuple[str, str], Entry] = {}
        for repository in (NONPROD, PROD):
            tip = self.site.tip("main", repository)
            if tip not in self._read:
                self._read[tip] = gitops.read(git.Remote(str(self.site.bare(repository))))[1]
            found |= self._read[tip]
        return found

    def record(self, environment: str, service: str) -> Record:
        return self.records()[environment, service].record

    def state(self) -> releases.State:
        return releases.look(self.open(self.settings))

    def commits(self, repository: str = PROD) -> list[git.Commit]:
        return list(git.log(self.site.bare(repository), "main"))

    # --- what is pushed, and what the runner makes of it

    def push(self, at: Path, remote: git.Remote, updates: Mapping[str, str], *, only_new: bool = False) -> None:
        self._monkeypatch.setenv("REMOTE_USER", remote.user)
        if self.before_push:
            self.before_push.pop(0)()
        had = git.refs(remote)
        self._push(at, remote, updates, only_new=only_new)
        if remote.url != str(self.site.bare(APP)):
            return
        for name, commit in updates.items():
            self.pushed(remote.user, name, had.get(name, git.ZERO), commit)
            if name.startswith(HEADS) and self.runner:
                self.run(name.removeprefix(HEADS), commit, remote.user)

    def put(self, branch: str, commit: str) -> None:
        """Let a branch have a commit, past everybody."""
        self._push(self.site.tree, git.Remote(str(self.site.bare(APP))), {f"{HEADS}{branch}": commit})

    def pushed(self, user: str, reference: str, before: str, after: str) -> None:
        self.log.append(pushlog.Pushed(float(len(self.log)), user, reference, before, after))

    def change(self, branch: str, files: Mapping[str, str | None], *, user: str = "developer", runs: bool = True) -> str:
        """A commit that somebody pushed to a branch, begun at develop (else at main), and that passed."""
        start = self.site.tip(branch) or self.site.tip("develop") or self.site.tip("main")
        self.site.git("fetch", "--quiet", self.site.bare(APP), "+refs/heads/*:refs/remotes/origin/*")
        self.site.branch("work", start)
        made = self.site.commit(files)
        taken, self.runner = self.runner, runs
        self.push(self.site.tree, git.Remote(str(self.site.bare(APP)), user), {f"{HEADS}{branch}": made})
        self.runner = taken
        return made

    def run(self, branch: str, commit: str, user: str) -> None:
        """The run of a push, to its end."""
        self.ran += 1
        run = runs.new(self.settings, branch=branch, commit=commit, pusher=user, when=1_800_000_000.0 + self.ran)
        recorder = runs.Recorder(self.settings, run)
        recorder.begin()
        self.note(commit)
        try:
            with recorder.stage("deploy") as phase:
                self.deploy(branch, commit, user, phase)
        except SlipwayError as error:
            recorder.end(runs.FAILED, trouble=str(error))
        else:
            recorder.end(runs.PASSED, verdict="passed")

    def note(self, commit: str, state: str = "passed") -> None:
        told = json.dumps({"state": state, "run": "1", "branch": "x"})
        somebody = ["-c", "user.name=pipeline", "-c", "user.email=pipeline@slipway.localhost"]
        words = ["git", "-C", self.site.bare(APP), *somebody, "notes", "--ref=ci", "add", "-f", "-m", told, commit]
        subprocess.run(words, check=True, capture_output=True)

    def deploy(self, branch: str, commit: str, user: str, phase: Phase) -> None:
        pipeline = self.open(self.settings)
        pipeline.fetch()
        line = policy.line(self.settings.policy, branch)
        for environment, reach in line.reach.items() if line else ():
            if reach != "automatic":
                continue
            staged = environment == releases.gate(self.settings).after and line is not None and line.releases
            release = releases.released_as(pipeline, branch) if staged else ""
            version = f"{release[1:]}-rc.{self.number(branch)}" if release else f"0.9.0-dev.{len(self.log)}"
            wanted = [self.artifact(environment, service, commit, branch, version) for service in SERVICES]
            if staged:
                releases.stage(pipeline, commit, branch, wanted, version=version, phase=phase, run="1", triggered_by=user)
            else:
                # What a release brought there comes as no release now.
                plain = tuple(replace(one, branch=branch, release="", lock="") if one.lock else one for one in wanted)
                change = Change(environment, "deploy", branch, plain, triggered_by=user)
                promotion.deploy(pipeline, change, phase=phase)

    def number(self, branch: str) -> int:
        return sum(pushed.branch == branch for pushed in self.log)

    def artifact(self, environment: str, service: str, commit: str, branch: str, version: str) -> Record:
        """What the pipeline makes of a service: an image when it changed, else what runs."""
        tree = self.open(self.settings).mirror
        key = git.content(tree, commit, f"services/{service}")
        runs = self.record(environment, service)
        if runs.version != "0.1.0" and git.content(tree, runs.source_commit, f"services/{service}") == key:
            return runs
        image = self.image(service, key)
        return Record(environment, service, version, f"{HOST}/{service}", image, commit, branch=branch, inputs=f"sha256:{key}")

    def image(self, service: str, content: str) -> str:
        config = oci.put_json(HOST, service, {"content": content}, oci.CONFIG)
        named = {"mediaType": oci.CONFIG, "digest": config.digest, "size": config.size}
        document = {"schemaVersion": 2, "mediaType": oci.MANIFEST, "config": named, "layers": []}
        digest = oci.manifest_digest(document)
        oci.put_manifest(f"{HOST}/{service}@{digest}", document)
        return digest


@dataclass(frozen=True)
class Start:
    """What every world begins with; it is copied.

    Attributes:
        site: The repositories.
        home: The secrets of the instance, and what its tasks have kept.
        log: The pushes there have been, when they were not judged by the hooks.
        blobs: What the registry holds.
        manifests: And under which names.
    """

    site: Site
    home: Path
    log: Sequence[pushlog.Pushed] = ()
    blobs: Mapping[tuple[str, str], bytes] = field(default_factory=dict[tuple[str, str], bytes])
    manifests: Mapping[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict[tuple[str, str], tuple[str, bytes]])


def start(site: Site) -> Start:
    """A site as `up` leaves it, and the secrets of its instance."""
    return Start(site, site.keys.parent / "home")


def world(begun: Start, folder: Path, monkeypatch: pytest.MonkeyPatch, *, hooks: bool = False) -> World:
    """A world of its own."""
    shutil.copytree(begun.site.folder, folder / "site", symlinks=True)
    shutil.copytree(begun.home, folder / "home")
    site = replace(begun.site, folder=folder / "site")
    if hooks:
        site.prepare()
    made = World(site, replace(load(), home=folder / "home"), monkeypatch, hooks=hooks)
    made.log = list(begun.log) or made.log
    made.registry.blobs.update(begun.blobs)
    made.registry.manifests.update(begun.manifests)
    return made


def kept(world: World) -> Start:
    """What other worlds can begin with."""
    registry = world.registry
    return Start(world.site, world.settings.home, tuple(world.log), dict(registry.blobs), dict(registry.manifests))


def judged(begun: Start, folder: Path, monkeypatch: pytest.MonkeyPatch, changed: Mapping[str, Any]) -> World:
    """A world by a policy of its own, which the Git server's hooks judge by as well."""
    data = {**yaml.safe_load(load().policy_file.read_text()), **changed}
    (folder / "policy.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    made = world(Start(replace(begun.site, policy=data), begun.home), folder, monkeypatch, hooks=True)
    there = {"SLIPWAY_POLICY": str(folder / "policy.yaml"), "SLIPWAY_HOME": str(made.settings.home)}
    made.settings = load(made.settings.instance, environ=there)
    return made


def ruled(made: World, rules: Path) -> World:
    """The world, by another policy."""
    made.settings = replace(made.settings, rules=rules)
    return made
