"""The Git server's three repositories side by side, with its real hooks, and people who push to them with real git."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from slipway import credentials, git, gitops, gitserver, locks, records, versions, wishes
from slipway.records import Entry, Record, Source
from slipway.settings import load
from tests.delivery import forks
from tests.laying import lay

SETTINGS = load()
SCRIPTS = tuple(SETTINGS.cluster / "git" / "hooks" / f"{name}.py" for name in ("pre_receive", "post_receive"))

APP, NONPROD, PROD = "app", "gitops-nonprod", "gitops-prod"

IMAGES = "localhost:{port}/{service}"

ENVIRONMENTS = ("dev", "qa", "stage", "prod")
SERVICES = ("cart", "catalog")

# What Helm does, as far as anybody here looks at it: the chart, the values and the version decide what comes out.
HELM = """#!/bin/sh
printf 'kind: ConfigMap\\nmetadata: {name: %s}\\ndata: {namespace: %s, kubernetes: %s, values: ' "$2" "$5" "$7"
cat
printf '}\\n---\\nkind: Chart\\nmetadata: {name: %s}\\ntext: ' "$2"
cat "$3/templates/all.yaml"
echo
"""


def digest(text: str) -> str:
    """A digest that stands for an image."""
    return f"sha256:{(text.encode().hex() * 64)[:64]}"


Done = subprocess.CompletedProcess[str]


@cache
def _judging() -> tuple[bytes, Mapping[str, Any]]:
    return gitserver.code(), gitserver.rules(SETTINGS)


@dataclass
class Site:
    """The server's folder, a working tree of the application, and everybody's keys.

    Attributes:
        processes: Whether every hook is a process from the start, as in the Git server, and no fork of one.
    """

    folder: Path
    keys: Path
    helm: Path
    secrets: credentials.Secrets
    policy: Mapping[str, Any] = field(default_factory=lambda: yaml.safe_load(SETTINGS.policy_file.read_text()))
    processes: bool = False

    @property
    def tree(self) -> Path:
        return self.folder / "tree"

    def bare(self, repository: str) -> Path:
        return self.folder / "server" / f"{repository}.git"

    def prepare(self) -> None:
        """Write what the hooks read; again after a change of the policy or a copy of the folder."""
        hooks = self.folder / "hooks"
        hooks.mkdir(exist_ok=True)
        code, told = _judging()
        for script in SCRIPTS:
            _, rest = script.read_text().split("\n", 1)
            hook = hooks / script.stem.replace("_", "-")
            hook.write_text(f"#!{sys.executable} -I\n{rest}" if self.processes else forks.hook(script, code, SCRIPTS))
            hook.chmod(0o755)
        (hooks / "slipway.zip").write_bytes(code)
        (hooks / "signers").write_text(self.secrets.signers_file)
        rules = {**told, "policy": self.policy, "helm": str(self.helm), "signers": str(hooks / "signers"), "images": IMAGES}
        (hooks / "rules.json").write_text(json.dumps(rules))
        quiet = {"base": "http://git.example", "branch": "main", "secret": "", "listeners": {}, "log": "", "logged": [APP]}
        (hooks / "hooks.json").write_text(json.dumps(quiet))
        template = self.folder / "template"
        template.mkdir(exist_ok=True)
        identity = "[user]\n name = someone\n email = someone@example\n"
        # Nothing that a test looks at: the samples that git puts into every repository, and tidying up.
        bare = f"[init]\n defaultBranch = main\n templateDir = {template}\n[gc]\n auto = 0\n[maintenance]\n auto = false\n"
        config = f"{identity}{bare}[core]\n hooksPath = {hooks}\n[receive]\n advertisePushOptions = true\n fsckObjects = true\n"
        (self.folder / "gitconfig").write_text(config)

    def copy(self, folder: Path, **changed: Any) -> Site:
        """The same once more, for one test."""
        shutil.copytree(self.folder, folder, symlinks=True)
        made = replace(self, folder=folder, **changed)
        made.prepare()
        return made

    def git(self, *words: str | Path, at: Path | None = None, user: str = "", check: bool = True) -> Done:
        hooks = self.folder / "hooks"
        environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(self.folder / "gitconfig"),
            "REMOTE_USER": user,
            "SLIPWAY_CODE": str(hooks / "slipway.zip"),
            "SLIPWAY_RULES": str(hooks / "rules.json"),
            "SLIPWAY_HOOKS": str(hooks / "hooks.json"),
        }
        done = subprocess.run(
            ["git", *map(str, words)], cwd=at or self.tree, env=environ, capture_output=True, text=True, check=False
        )
        if check and done.returncode:
            raise AssertionError(done.stdout + done.stderr)
        return done

    # --- the application

    def commit(self, files: Mapping[str, str | None], message: str = "Change") -> str:
        """A commit of the application on whatever is checked out."""
        lay(self.tree, files)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)
        return self.head

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD").stdout.strip()

    def branch(self, name: str, start: str = "") -> None:
        """Check a new branch out."""
        self.git("checkout", "--quiet", "-B", name, *([start] if start else []))

    def push(self, *specs: str, user: str, options: Sequence[str] = (), force: bool = False, repository: str = APP) -> Done:
        words = [*(["--force"] if force else []), *(word for option in options for word in ("-o", option))]
        return self.git("push", *words, self.bare(repository), *specs, user=user, check=False)

    def change(self, branch: str, files: Mapping[str, str | None], *, user: str = "developer", start: str = "") -> str:
        """A commit that somebody pushed to a branch."""
        self.branch(branch, start or self.tip(branch) or self.tip("develop"))
        made = self.commit(files)
        landed(self.push(f"{made}:refs/heads/{branch}", user=user))
        return made

    def tip(self, branch: str, repository: str = APP) -> str:
        return git.resolve(self.bare(repository), f"refs/heads/{branch}") or ""

    def passed(self, commit: str, state: str = "passed", *, user: str = "pipeline") -> Done:
        """A note that a commit passed the pipeline."""
        self.git("fetch", "--quiet", self.bare(APP), "+refs/notes/*:refs/notes/*")
        note = json.dumps({"state": state, "run": "1", "branch": "x"})
        self.git("notes", "--ref=ci", "add", "-f", "-m", note, commit)
        return self.push("refs/notes/ci", user=user)

    # --- records

    def entry(self, environment: str, service: str, commit: str, **more: str) -> Entry:
        """What follows from a commit of the application, as the pipeline makes it."""
        told = {"branch": "develop", "digest": digest(commit[:7]), "inputs": digest(f"in {commit[:7]}"), **more}
        told.setdefault("version", f"0.2.0-{versions.slug(told['branch'])}.{git.count(self.tree, commit)}")
        record = Record(environment, service, source_commit=commit, **{"image": f"localhost:5001/{service}", **told})
        place = self.folder / "sources" / commit
        if not place.is_dir():
            git.export(self.tree, commit, ["charts", "services"], place)
        source = Source(place, commit)
        return records.render(
            record,
            source.values(service, environment) if record.chart == records.CHART else {},
            tier=SETTINGS.environments[environment].tier,
            chart=source.chart(record.chart),
            helm_program=self.helm,
            kubernetes=SETTINGS.versions["versions"]["kubernetes"],
        )

    def checkout(self, repository: str) -> Path:
        """A fresh working tree of a GitOps repository."""
        at = self.folder / "records" / repository
        shutil.rmtree(at, ignore_errors=True)
        self.git("clone", "--quiet", self.bare(repository), at, at=self.folder)
        return at

    def sign(
        self, at: Path, message: str, *, by: str = "pipeline", key: str | None = "", add: bool = True, words: Sequence[str] = ()
    ) -> str:
        """A commit of everything in a working tree; `key` None leaves it unsigned."""
        if add:
            self.git("add", "--all", at=at)
        signer = [] if key is None else ["-c", "gpg.format=ssh", "-c", f"user.signingKey={self.keys / (key or by)}"]
        identity = ["-c", f"user.name={by}", "-c", f"user.email={credentials.address(by)}"]
        sign = ["--no-gpg-sign"] if key is None else ["--gpg-sign"]
        self.git(*signer, *identity, "commit", "--quiet", "--allow-empty", *sign, *words, "-m", message, at=at)
        return self.git("rev-parse", "HEAD", at=at).stdout.strip()

    def write(
        self,
        repository: str,
        entries: Sequence[Entry] = (),
        *,
        files: Mapping[str, bytes | None] | None = None,
        kind: str | None = None,
        user: str = "pipeline",
        by: str = "",
        key: str | None = "",
        **trailers: str,
    ) -> Done:
        """The push of one commit to a GitOps repository, as the pipeline makes it unless something else is said.

        What a feature branch brings somebody has asked for; anything else comes by itself.
        """
        at = self.checkout(repository)
        asked = any(one.record.branch.startswith("feature/") for one in entries)
        kind = ("request" if asked else "deploy") if kind is None else kind
        self.lay(at, entries, files or {})
        self.sign(at, self.message(entries, kind, **trailers), by=by or user, key=key)
        return self.git("push", self.bare(repository), "HEAD:refs/heads/main", at=at, user=user, check=False)

    def lay(self, at: Path, entries: Sequence[Entry], files: Mapping[str, bytes | None]) -> None:
        """Write the files of records, and others."""
        lay(at, {**{name: text for one in entries for name, text in one.files.items()}, **files})

    def message(self, entries: Sequence[Entry], kind: str, **trailers: str) -> str:
        """What the pipeline's commits say of themselves."""
        told = {"Triggered-By": "developer", **{name.replace("_", "-"): value for name, value in trailers.items()}}
        for name in ("branch", "release", "lock"):
            said = ", ".join(dict.fromkeys(getattr(one.record, name) for one in entries))
            told.setdefault(name.capitalize(), said)
        if kind == "request" and entries:
            told.setdefault("Wish", self.wish(entries[0].record, by=told["Triggered-By"]))
        return gitops.message(entries, "Test", {"Kind": kind, **told})

    def wish(self, record: Record, *, by: str = "developer") -> str:
        """What somebody signs who asks for a record."""
        return wishes.sign(self.keys / by, record.environment, record.branch, record.source_commit)

    def now(self, environment: str, service: str) -> Entry:
        """What is recorded."""
        repository = SETTINGS.environments[environment].repository
        return records.entries(self.checkout(repository))[environment, service]

    # --- a release

    def lock(self, release: str, commit: str, branch: str = "", **digests: str) -> locks.Lock:
        """The lock of all services, all of one commit."""
        version = f"{release[1:]}-rc.{git.count(self.tree, commit)}"
        made = [
            self.entry("stage", service, commit, version=version, digest=digests.get(service, digest(commit[:7])))
            for service in SERVICES
        ]
        return locks.of(
            [one.record for one in made],
            release=release,
            version=version,
            branch=branch or f"release/{release}",
            commit=commit,
        )

    def of_lock(self, lock: locks.Lock, environment: str, services: Sequence[str] = SERVICES) -> list[Entry]:
        """What an environment records of a lock."""
        return [
            self.entry(
                environment,
                one.service,
                one.source_commit,
                version=one.version,
                digest=one.digest,
                inputs=one.inputs,
                branch=lock.branch,
                release=lock.release,
                lock=lock.hash,
            )
            for one in lock.services
            if one.service in services
        ]

    def cut(self, release: str, *, by: str = "developer") -> locks.Lock:
        """A release that was cut from develop and runs in stage."""
        self.branch("cut", self.tip("develop"))
        tip = self.head
        landed(self.push(f"{tip}:refs/heads/release/{release}", user=by))
        lock = self.lock(release, tip)
        landed(self.write(PROD, self.of_lock(lock, "stage"), files=lock.files, Triggered_By=by))
        return lock

    def result(self, lock: locks.Lock, **changed: Any) -> locks.StageResult:
        """What stage says of a lock that it runs."""
        told = locks.StageResult(lock.release, lock.hash, "stage", self.tip("main", PROD), lock.digests, "2026-01-02T03:04:05Z")
        return replace(told, **changed)

    def tried(self, lock: locks.Lock) -> None:
        """Stage ran the lock."""
        landed(self.write(PROD, files=self.result(lock).files, kind="release"))

    def load(self, lock: locks.Lock, **changed: Any) -> locks.LoadResult:
        """What a load test says of a lock that passed it in stage."""
        tip, time = self.tip("main", PROD), "2026-01-02T03:05:06Z"
        told = locks.LoadResult(lock.release, lock.hash, "stage", tip, lock.digests, "load-1", "smoke", time)
        return replace(told, **changed)

    def loaded(self, lock: locks.Lock, **more: Any) -> Done:
        """The push of a passed load test."""
        return self.write(PROD, files=self.load(lock).files, kind="load", **more)

    def approve(self, lock: locks.Lock, *, by: str = "lead", user: str = "", **more: Any) -> Done:
        """The push of an approval."""
        approval = locks.Approval(lock.release, lock.hash, by, "2026-01-02T03:04:05Z")
        told: dict[str, Any] = {"Approved_By": by, **more}
        return self.write(PROD, files=approval.files, kind="approval", user=user or by, **told)

    def approved(self, release: str) -> locks.Lock:
        """A release that was cut, that stage ran, and that the lead approved."""
        lock = self.cut(release)
        self.tried(lock)
        landed(self.approve(lock))
        return lock

    def promote(self, lock: locks.Lock, services: Sequence[str] = SERVICES, *, kind: str = "promotion", **more: Any) -> Done:
        """The push that promotes a lock to prod."""
        given = locks.approvals(self.checkout(PROD))
        true = {"Promoted_From": "stage", "Approved_By": ", ".join(sorted(one.by for one in given if one.lock == lock.hash))}
        told: dict[str, Any] = {**(true if kind == "promotion" else {}), **more}
        return self.write(PROD, self.of_lock(lock, "prod", services), kind=kind, **told)


def landed(done: Done) -> None:
    """A push was taken."""
    assert done.returncode == 0, done.stderr


def refused(done: Done, rule: str, *words: str) -> None:
    """A push was refused by a rule, with these words."""
    assert done.returncode != 0, "the push landed"
    assert f"REFUSED by rule '{rule}'" in done.stderr, done.stderr
    assert "Allowed:" in done.stderr
    said = " ".join(line.removeprefix("remote:").strip() for line in done.stderr.splitlines())
    for word in words:
        assert word in said, done.stderr


def make(folder: Path, *, helm_script: str = HELM) -> Site:
    """A site as `up` leaves it, with keys of its own and a stand-in for Helm."""
    settings = replace(SETTINGS, home=folder / "home")
    secrets = credentials.keep(settings)
    keys, helm = folder / "keys", folder / "helm"
    keys.mkdir()
    for role in settings.roles:
        credentials.write_private(keys / role, secrets.signing[role])
    helm.write_text(helm_script)
    helm.chmod(0o755)
    return begin(folder / "begun", keys, helm, secrets)


def begin(folder: Path, keys: Path, helm: Path, secrets: credentials.Secrets) -> Site:
    """A site as `up` leaves it: the application seeded, a record of every service and of a store in every environment."""
    site = Site(folder, keys, helm, secrets)
    site.tree.mkdir(parents=True)
    site.prepare()
    for name in gitserver.repositories(SETTINGS):
        site.git("init", "-q", "--bare", "-b", "main", site.bare(name), at=folder)
    site.git("init", "-q", "-b", "main")
    files = {
        f"charts/{chart}/{name}": content
        for chart in ("microservice", "retired", "valkey")
        for name, content in {"Chart.yaml": f"name: {chart}\nversion: 1.0.0\n", "templates/all.yaml": "one"}.items()
    }
    for service in SERVICES:
        for env in ENVIRONMENTS:
            files |= {f"services/{service}/envs/{env}.yaml": "a: 1\n", f"services/{service}/helm/{env}-values.yaml": "b: 1\n"}
    first = site.commit(files)
    landed(site.push("main", "main:refs/heads/develop", f"{first}:refs/tags/v0.1.0", user="pipeline"))
    for repository in (NONPROD, PROD):
        entries = genesis(site, repository, first)
        at = folder / "begun" / repository
        site.git("init", "-q", "-b", "main", at, at=folder)
        site.lay(at, entries, {})
        site.sign(at, site.message(entries, "genesis"))
        landed(site.git("push", site.bare(repository), "main", at=at, user="pipeline", check=False))
    shutil.rmtree(folder / "begun")
    # It is copied for every test: one file sooner than many.
    for place in (site.tree, *(site.bare(name) for name in gitserver.repositories(SETTINGS))):
        site.git("repack", "-a", "-d", "-q", at=place)
    return site


def genesis(site: Site, repository: str, commit: str) -> list[Entry]:
    """What a repository begins with."""
    names = [name for name in ENVIRONMENTS if SETTINGS.environments[name].repository == repository]
    release = "v0.1.0" if repository == PROD else ""
    told = {"version": "0.1.0", "branch": "main", "digest": digest("first")}
    return [
        site.entry(env, service, commit, **told, **({"chart": "valkey"} if service == "valkey" else {"release": release}))
        for env in names
        for service in (*SERVICES, "valkey")
    ]
