"""Every way around the process that somebody may try, as each role: who refuses it, by which rule, and that nothing changed."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from slipway import applications, credentials, git, gitops, records, shell
from slipway.errors import CommandFailed
from tests.e2e import delivering
from tests.e2e.conftest import Instance, fetch
from tests.e2e.developing import Workspace

ROLES = ("developer", "lead", "pipeline")


@dataclass
class Tree:
    """A working tree of a GitOps repository in somebody's hands, with whatever key they have."""

    instance: Instance
    folder: Path
    repository: str

    def read(self, name: str) -> Any:
        """The documents of a file."""
        return list(yaml.safe_load_all((self.folder / name).read_text()))

    def write(self, name: str, documents: Any) -> None:
        """Let a file hold these documents."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(records.dump(documents))

    def push(
        self, user: str, *, trailers: Mapping[str, str] | None = None, signed: bool = True, by: str = "", merging: bool = False
    ) -> str:
        """What the Git server said when it refused a commit, or a merge, of everything that was changed; "" when it took it."""
        before = git.resolve(self.folder, "HEAD") or ""
        git.stage(self.folder, ["."])
        told = "".join(f"{name}: {value}\n" for name, value in (trailers or {}).items())
        author = by or user
        key = credentials.signing_key(self.instance.settings, author) if signed else None
        identity = git.Identity(author, f"{author}@slipway.localhost")
        made = git.commit(self.folder, f"Try\n\n{told}", identity=identity, key=key)
        if merging:
            words = ["commit-tree", f"{made}^{{tree}}", "-p", before, "-p", made, "-m", "Merge"]
            made = shell.run(["git", "-C", self.folder, *words], env=git.environment(identity=identity)).stdout.strip()
        try:
            git.push(self.folder, delivering.remote(self.instance, self.repository, user=user), {gitops.REFERENCE: made})
        except git.PushRefused as refusal:
            return str(refusal)
        return ""


@pytest.fixture
def tree(instance: Instance, tmp_path: Path) -> Callable[[str], Tree]:
    """Makes a working tree of a GitOps repository; whatever was tried, the repository has not changed."""

    def make(repository: str) -> Tree:
        folder = tmp_path / secrets.token_hex(4)
        git.clone(delivering.remote(instance, repository), folder, branch=gitops.BRANCH)
        return Tree(instance, folder, repository)

    return make


@pytest.fixture
def work(instance: Instance, tmp_path: Path) -> Workspace:
    """A developer's clone of develop."""
    return Workspace.clone(instance, tmp_path / "work")


def refusal(work: Workspace, branch: str, **push: Any) -> str:
    """What the Git server said to a push."""
    with pytest.raises(git.PushRefused) as caught:
        work.push(branch, **push)
    return str(caught.value)


@pytest.mark.parametrize("user", ["developer", "lead"])
@pytest.mark.parametrize("branch", ["develop", "main"])
def test_nobody_pushes_to_develop_or_main_directly(instance: Instance, tmp_path: Path, user: str, branch: str) -> None:
    work = Workspace.clone(instance, tmp_path / "work", user=user, branch=branch)
    work.touch("catalog")
    work.commit()
    said = refusal(work, branch, options=["ci.skip"])
    assert "REFUSED by rule 'merge'" in said or "REFUSED by rule 'push'" in said, said
    assert "Allowed: " in said


def test_what_has_not_passed_cannot_be_merged(instance: Instance, work: Workspace) -> None:
    branch = f"feature/{secrets.token_hex(3)}"
    work.touch("catalog")
    tip = work.commit()
    work.push(branch, options=["ci.skip"])
    said = instance.invoke("merge", branch, check=False, timeout=60)
    assert said.code == 1
    assert "pass" in said.stderr
    merge = ["merge", "--no-ff", "--quiet", "--message", "Merge by hand", tip]
    shell.run(["git", "-C", work.folder, "checkout", "--quiet", "-B", "by-hand", "origin/develop"], env=git.environment())
    shell.run(["git", "-C", work.folder, *merge], env=git.environment(identity=git.Identity("developer", "developer@example")))
    assert "REFUSED by rule 'merge'" in refusal(work, "develop")


@pytest.mark.parametrize("environment", ["stage", "prod"])
def test_a_feature_branch_cannot_even_ask_for_stage_or_prod(instance: Instance, work: Workspace, environment: str) -> None:
    branch = f"feature/{secrets.token_hex(3)}"
    work.touch("catalog")
    work.commit()
    said = refusal(work, branch, options=[f"deploy={environment}"])
    assert "REFUSED by rule 'branches'" in said, said
    assert environment in said
    assert f"refs/heads/{branch}" not in git.refs(delivering.remote(instance, "app"))


def test_no_history_is_ever_lost(work: Workspace) -> None:
    branch = f"feature/{secrets.token_hex(3)}"
    work.touch("catalog")
    work.commit()
    work.push(branch, options=["ci.skip"])
    assert "rule 'history'" in refusal(work, branch, revision="+origin/develop")


@pytest.mark.parametrize("user", ["developer", "lead"])
def test_nobody_but_the_pipeline_tags_a_release(instance: Instance, tmp_path: Path, user: str) -> None:
    work = Workspace.clone(instance, tmp_path / "work", user=user)
    remote = delivering.remote(instance, "app", user=user)
    with pytest.raises(git.PushRefused, match="rule 'tags'"):
        git.push(work.folder, remote, {"refs/tags/v99.0.0": work.head})


@pytest.mark.parametrize("user", ROLES)
def test_a_tag_never_moves(instance: Instance, tmp_path: Path, user: str) -> None:
    work = Workspace.clone(instance, tmp_path / "work", user=user)
    work.touch("catalog")
    with pytest.raises((git.PushRefused, git.PushConflict)):
        git.push(work.folder, delivering.remote(instance, "app", user=user), {"refs/tags/v0.1.0": work.commit()})


@pytest.mark.parametrize("name", ["v0.0.1", "v0.1.0", "1.0.0", "v1.0", "vnext"])
def test_a_release_branch_bears_a_new_version_or_is_refused(work: Workspace, name: str) -> None:
    said = refusal(work, f"release/{name}")
    assert "REFUSED by rule 'release-name'" in said or "REFUSED by rule 'references'" in said, said


def test_a_release_is_cut_from_develop_and_from_nothing_else(work: Workspace) -> None:
    work.touch("catalog")
    work.commit()
    assert "REFUSED by rule 'release-name'" in refusal(work, "release/v98.0.0")


@pytest.mark.parametrize("user", ["developer", "lead"])
@pytest.mark.parametrize("repository", ["gitops-nonprod", "gitops-prod"])
def test_nobody_but_the_pipeline_writes_records(
    instance: Instance, tree: Callable[[str], Tree], user: str, repository: str
) -> None:
    mine = tree(repository)
    name = next(str(file.relative_to(mine.folder)) for file in sorted(mine.folder.glob("envs/*/catalog/record.yaml")))
    [record] = mine.read(name)
    mine.write(name, [{**record, "version": "9.9.9"}])
    before = delivering.read(instance, repository)[0]
    said = mine.push(user)
    assert f"REFUSED by rule 'push': {user} may not push to {repository}" in said, said
    assert delivering.read(instance, repository)[0] == before


def test_a_record_without_the_pipelines_signature_is_refused(tree: Callable[[str], Tree]) -> None:
    for signed, by in ((False, "pipeline"), (True, "developer")):
        mine = tree("gitops-nonprod")
        [record] = mine.read("envs/dev/catalog/record.yaml")
        mine.write("envs/dev/catalog/record.yaml", [{**record, "version": "9.9.9"}])
        said = mine.push("pipeline", signed=signed, by=by, trailers=deploy("dev", "develop"))
        assert "REFUSED by rule 'signature'" in said, said


def test_a_record_outside_its_tier_is_refused(tree: Callable[[str], Tree]) -> None:
    mine = tree("gitops-nonprod")
    for name in ("record", "values", "manifests"):
        mine.write(f"envs/prod/catalog/{name}.yaml", mine.read(f"envs/dev/catalog/{name}.yaml"))
    said = mine.push("pipeline", trailers=deploy("prod", "develop"))
    assert "REFUSED by rule 'paths'" in said, said
    assert "envs/prod/catalog" in said


def test_manifests_that_do_not_follow_from_the_values_are_refused(tree: Callable[[str], Tree]) -> None:
    mine = tree("gitops-nonprod")
    manifests = mine.read("envs/dev/catalog/manifests.yaml")
    deployment = next(item for item in manifests if item["kind"] == "Deployment")
    deployment["spec"]["replicas"] = 7
    mine.write("envs/dev/catalog/manifests.yaml", manifests)
    said = mine.push("pipeline", trailers=deploy("dev", "develop"))
    assert "REFUSED by rule 'derived'" in said, said


def test_values_that_no_commit_has_are_refused(tree: Callable[[str], Tree]) -> None:
    mine = tree("gitops-nonprod")
    [values] = mine.read("envs/dev/catalog/values.yaml")
    mine.write("envs/dev/catalog/values.yaml", [{**values, "replicas": 7}])
    said = mine.push("pipeline", trailers=deploy("dev", "develop"))
    assert "REFUSED by rule 'derived'" in said, said


def test_records_go_on_one_after_the_other_and_never_by_a_merge(tree: Callable[[str], Tree]) -> None:
    mine = tree("gitops-nonprod")
    [record] = mine.read("envs/dev/catalog/record.yaml")
    mine.write("envs/dev/catalog/record.yaml", [{**record, "version": "9.9.9"}])
    assert "REFUSED by rule 'linear'" in mine.push("pipeline", trailers=deploy("dev", "develop"), merging=True)


@pytest.mark.parametrize(("kind", "rule"), [("", "trailers"), ("party", "trailers"), ("genesis", "genesis")])
def test_a_commit_of_records_says_what_it_is(tree: Callable[[str], Tree], kind: str, rule: str) -> None:
    mine = tree("gitops-nonprod")
    [record] = mine.read("envs/dev/catalog/record.yaml")
    mine.write("envs/dev/catalog/record.yaml", [{**record, "version": "9.9.9"}])
    said = mine.push("pipeline", trailers={**deploy("dev", "develop"), "Kind": kind} if kind else {})
    assert f"REFUSED by rule '{rule}'" in said, said


def test_nothing_is_rolled_back_to_what_never_ran(tree: Callable[[str], Tree]) -> None:
    mine = tree("gitops-prod")
    [record] = mine.read("envs/prod/catalog/record.yaml")
    mine.write("envs/prod/catalog/record.yaml", [{**record, "version": "9.9.9"}])
    before = git.resolve(mine.folder, "HEAD") or ""
    said = mine.push("pipeline", trailers={**deploy("prod", record["branch"]), "Kind": "rollback", "Restores": before})
    assert "REFUSED by rule 'rollback'" in said, said


@pytest.mark.parametrize("repository", ["gitops-nonprod", "gitops-prod"])
def test_a_repository_of_records_has_one_branch(instance: Instance, tree: Callable[[str], Tree], repository: str) -> None:
    mine = tree(repository)
    with pytest.raises(git.PushRefused, match="REFUSED by rule 'references'"):
        git.push(
            mine.folder, delivering.remote(instance, repository), {"refs/heads/side": git.resolve(mine.folder, "HEAD") or ""}
        )


# Of a record that no release made; a branch that nobody knows reaches nothing, so that stage asks it for no lock.
MISSING = {
    "stage": ("branches", "origin"),
    "prod": ("branches", "origin", "lock", "stage-first", "approval", "dispatch"),
}


@pytest.mark.parametrize("environment", ["stage", "prod"])
def test_a_digest_that_no_lock_names_is_refused_even_from_the_pipeline(tree: Callable[[str], Tree], environment: str) -> None:
    mine = tree("gitops-prod")
    digest = "sha256:" + secrets.token_hex(32)
    for name in ("record", "values", "manifests"):
        file = mine.folder / f"envs/{environment}/catalog/{name}.yaml"
        [record] = mine.read(f"envs/{environment}/catalog/record.yaml")
        file.write_text(file.read_text().replace(record["digest"], digest) if name != "record" else file.read_text())
    [record] = mine.read(f"envs/{environment}/catalog/record.yaml")
    # Whatever release ran there before is another matter.
    without = {name: value for name, value in record.items() if name != "lock"}
    mine.write(f"envs/{environment}/catalog/record.yaml", [{**without, "digest": digest, "branch": "feature/mine"}])
    said = mine.push("pipeline", trailers=deploy(environment, "feature/mine"))
    assert [rule for rule in MISSING[environment] if f"REFUSED by rule '{rule}'" not in said] == [], said
    assert environment in said


@pytest.mark.parametrize("user", ROLES)
def test_a_record_that_is_deleted_is_refused(tree: Callable[[str], Tree], user: str) -> None:
    mine = tree("gitops-prod")
    for name in ("record", "values", "manifests"):
        (mine.folder / f"envs/prod/catalog/{name}.yaml").unlink()
    said = mine.push(user, trailers=deploy("prod", "main"))
    assert f"REFUSED by rule '{'removed' if user == 'pipeline' else 'push'}'" in said, said


# Who may push no records brings an approval in their own name or nothing; a lock that there is not is approved by nobody.
FORGED = {("lead", "lead"): "lock", **{("pipeline", by): "approval" for by in ("developer", "lead", "nobody")}}


@pytest.mark.parametrize("user", ROLES)
def test_an_approval_cannot_be_forged(tree: Callable[[str], Tree], user: str) -> None:
    lock = "ab" * 32
    for by in ("lead", "developer", "nobody"):
        mine = tree("gitops-prod")
        name = f"approvals/{lock}/{by}.yaml"
        mine.write(name, [{"lock": f"sha256:{lock}", "release": "v0.1.0", "by": by, "time": "2026-01-01T00:00:00Z"}])
        said = mine.push(user, trailers={"Kind": "approval", "Lock": f"sha256:{lock}"})
        assert f"REFUSED by rule '{FORGED.get((user, by), 'push')}'" in said, said


def test_a_stranger_reads_and_writes_nothing(instance: Instance, work: Workspace) -> None:
    for repository in ("app", "gitops-nonprod", "gitops-prod"):
        nobody = replace(delivering.remote(instance, repository), user="", password="")
        with pytest.raises(CommandFailed):
            git.refs(nobody)
        with pytest.raises((CommandFailed, git.PushRefused)):
            git.push(work.folder, nobody, {"refs/heads/feature/anonymous": work.head})


@pytest.mark.parametrize("role", ROLES)
def test_argo_cd_lets_no_role_run_anything_but_what_the_branch_says(instance: Instance, role: str) -> None:
    url = instance.json("urls")["argocd"]
    password = credentials.keep(instance.settings).passwords[role]
    session = fetch(f"{url}/api/v1/session", method="POST", body={"username": role, "password": password})
    token = {"Authorization": f"Bearer {session.json['token']}"}
    application = f"{url}/api/v1/applications/catalog-prod"
    had = instance.kube.get("Application", "catalog-prod", namespace="argocd", api_version=applications.API_VERSION)
    assert had
    first = had["status"]["history"][0]["revision"] if had["status"].get("history") else had["status"]["sync"]["revision"]
    tries = {
        "another revision": fetch(f"{application}/sync", method="POST", headers=token, body={"revision": first}),
        "other manifests": fetch(
            f"{application}/sync", method="POST", headers=token, body={"manifests": ['{"kind":"ConfigMap","apiVersion":"v1"}']}
        ),
        "another source": fetch(
            f"{application}/spec",
            method="PUT",
            headers=token,
            body={**had["spec"], "source": {**had["spec"]["source"], "path": "envs/stage/catalog"}},
        ),
        "a rollback": fetch(f"{application}/rollback", method="POST", headers=token, body={"id": 0}),
        "no automation": fetch(
            application, method="PATCH", headers=token, body={"patch": '{"spec":{"syncPolicy":null}}', "patchType": "merge"}
        ),
        "an application": fetch(
            f"{url}/api/v1/applications",
            method="POST",
            headers=token,
            body={"metadata": {"name": "mine"}, "spec": had["spec"]},
        ),
        "a project": fetch(
            f"{url}/api/v1/projects", method="POST", headers=token, body={"project": {"metadata": {"name": "mine"}, "spec": {}}}
        ),
    }
    assert {what: reply.status for what, reply in tries.items() if reply.status < 400} == {}
    # It is Argo CD who says no, before the cluster is even asked.
    assert {what: reply.body for what, reply in tries.items() if "ValidatingAdmissionPolicy" in reply.body} == {}
    now = instance.kube.get("Application", "catalog-prod", namespace="argocd", api_version=applications.API_VERSION)
    assert now
    assert now["spec"] == had["spec"]


def deploy(environment: str, branch: str) -> dict[str, str]:
    """The trailers that the pipeline would write."""
    return {"Kind": "deploy", "Environment": environment, "Service": "catalog", "Branch": branch, "Triggered-By": "developer"}
