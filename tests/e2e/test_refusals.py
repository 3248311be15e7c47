"""Every way around the process that somebody may try, as each role: who refuses it, by which rule, and that nothing changed."""

from __future__ import annotations

import secrets
import ssl
import urllib.error
import urllib.parse
import urllib.request
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from slipway import applications, credentials, git, names, shell
from slipway.errors import CommandFailed
from tests.e2e import admitting, delivering
from tests.e2e.conftest import Instance, Reply, fetch
from tests.e2e.developing import Workspace
from tests.e2e.writing import FILES, Tree

ROLES = ("developer", "lead", "pipeline")


@pytest.fixture
def tree(instance: Instance, tmp_path: Path) -> Callable[[str], Tree]:
    """Makes a working tree of a GitOps repository; whatever was tried, the repository has not changed."""
    return lambda repository: Tree.clone(instance, tmp_path / secrets.token_hex(4), repository)


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
def test_a_tag_never_moves_and_never_goes(instance: Instance, tmp_path: Path, user: str) -> None:
    """By force, so that it is the server who says no, and not git."""
    work = Workspace.clone(instance, tmp_path / "work", user=user)
    work.touch("catalog")
    made, remote = work.commit(), delivering.remote(instance, "app", user=user)
    before = git.refs(remote)["refs/tags/v0.1.0"]
    for what, spec in (("moved", f"+{made}:refs/tags/v0.1.0"), ("removed", ":refs/tags/v0.1.0")):
        words = ["git", "-C", work.folder, "push", "--force", remote.url, spec]
        done = shell.run(words, env=git.environment(remote), check=False, timeout=60)
        assert done.code != 0
        assert f"REFUSED by rule 'tags': the tag v0.1.0 is there and is never {what}" in done.stderr, done.stderr
    assert git.refs(remote)["refs/tags/v0.1.0"] == before


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


@pytest.mark.parametrize(
    ("repository", "own", "other"), [("gitops-nonprod", "dev", "prod"), ("gitops-prod", "stage", "dev")], ids=["up", "down"]
)
def test_a_record_outside_its_tier_is_refused(tree: Callable[[str], Tree], repository: str, own: str, other: str) -> None:
    mine = tree(repository)
    for name in FILES:
        mine.write(f"envs/{other}/catalog/{name}.yaml", mine.read(f"envs/{own}/catalog/{name}.yaml"))
    said = mine.push("pipeline", trailers=deploy(other, "develop"))
    assert "REFUSED by rule 'paths'" in said, said
    assert f"envs/{other}/catalog" in said


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
    for name in FILES:
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
    for name in FILES:
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
        for path in ("info/refs?service=git-upload-pack", "info/refs?service=git-receive-pack"):
            told = fetch(f"{nobody.url}/{path}")
            assert (told.status, "Authorization Required" in told.body) == (401, True), told
        with pytest.raises(CommandFailed, match="Authentication failed"):
            git.refs(nobody)
        with pytest.raises(CommandFailed, match="Authentication failed"):
            git.push(work.folder, nobody, {"refs/heads/feature/anonymous": work.head})
    told = fetch(f"{delivering.remote(instance, 'app').url}/pushes")
    assert (told.status, "Authorization Required" in told.body) == (401, True), told


# What nobody may ask of the API server.
UNASKED = (
    ("GET", "/api/v1/namespaces/prod/pods"),
    ("GET", "/api/v1/namespaces/argocd/secrets"),
    ("GET", f"/api/v1/namespaces/{names.ADMISSION}/configmaps"),
    ("POST", f"/api/v1/namespaces/{names.ADMISSION}/configmaps"),
    ("POST", "/apis/batch/v1/namespaces/prod/jobs"),
    ("PATCH", "/apis/apps/v1/namespaces/prod/deployments/catalog"),
    ("DELETE", "/apis/apps/v1/namespaces/prod/deployments/catalog"),
)


def test_a_stranger_gets_nothing_from_the_api_server(instance: Instance, tmp_path: Path) -> None:
    cluster = yaml.safe_load(instance.settings.kubeconfig.read_text())["clusters"][0]
    server, trusted = cluster["cluster"]["server"], b64decode(cluster["cluster"]["certificate-authority-data"]).decode()
    for method, path in UNASKED:
        status, words = unnamed(f"{server}{path}", method, ssl.create_default_context(cadata=trusted))
        assert status in (401, 403), (method, path, words)
        assert "Unauthorized" in words or 'User \\"system:anonymous\\" cannot' in words, (method, path, words)
    # And by kubectl, with a token that somebody has made up: without any it would only ask for a password.
    user = {"name": "mine", "user": {"token": secrets.token_hex(16)}}
    context = {"name": "mine", "context": {"cluster": cluster["name"], "user": "mine"}}
    config = {"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "users": [user], "contexts": [context]}
    (tmp_path / "config").write_text(yaml.safe_dump({**config, "current-context": "mine"}))
    for words in (["get", "pods"], ["set", "image", "deployment/catalog", f"catalog={admitting.stranger()}"]):
        done = admitting.kubectl(instance, "--namespace", "prod", *words, config=tmp_path / "config")
        assert done.code != 0
        assert "Unauthorized" in done.stderr or "must be logged in" in done.stderr, done.stderr


def unnamed(url: str, method: str, trust: ssl.SSLContext) -> tuple[int, str]:
    """What a server answers to somebody who does not say who they are."""
    headers = {"Content-Type": "application/merge-patch+json" if method == "PATCH" else "application/json"}
    data = b"{}" if method in ("POST", "PATCH") else None
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, data, headers, method=method), context=trust, timeout=10
        ) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


# --- Argo CD

# An object of prod as Argo CD's API names it.
CATALOG = urllib.parse.urlencode(
    {"namespace": "prod", "resourceName": "catalog", "version": "v1", "group": "apps", "kind": "Deployment"}
)


def argo_cd(instance: Instance, kind: str, name: str) -> Mapping[str, Any]:
    found = instance.kube.get(kind, name, namespace=names.ARGOCD, api_version=applications.API_VERSION)
    assert found
    return found


def tries(instance: Instance) -> Mapping[str, tuple[str, str, Any]]:
    """What somebody may try at Argo CD's API, by what it is: method, path and body."""
    had, project = argo_cd(instance, "Application", "catalog-prod"), argo_cd(instance, "AppProject", "prod")
    made = argo_cd(instance, "ApplicationSet", "prod")
    first = had["status"]["history"][0]["revision"] if had["status"].get("history") else had["status"]["sync"]["revision"]
    elsewhere = {**had["spec"], "source": {**had["spec"]["source"], "path": "envs/stage/catalog"}}
    wide = {"metadata": {"name": "prod"}, "spec": {**project["spec"], "sourceRepos": ["*"]}}
    mine, own = "applications/catalog-prod", {"metadata": {"name": "mine"}}
    patch = {"patch": '{"spec":{"syncPolicy":null}}', "patchType": "merge"}
    return {
        "another revision": ("POST", f"{mine}/sync", {"revision": first}),
        "other manifests": ("POST", f"{mine}/sync", {"manifests": ['{"kind":"ConfigMap","apiVersion":"v1"}']}),
        "another source": ("PUT", f"{mine}/spec", elsewhere),
        "a rollback": ("POST", f"{mine}/rollback", {"id": 0}),
        "no automation": ("PATCH", mine, patch),
        "an application": ("POST", "applications", {**own, "spec": had["spec"]}),
        "to delete an object": ("DELETE", f"{mine}/resource?{CATALOG}", None),
        "to patch an object": (
            "POST",
            f"{mine}/resource?{CATALOG}&patchType={urllib.parse.quote_plus('application/merge-patch+json')}",
            '{"spec":{"replicas":1}}',
        ),
        "an action": ("POST", f"{mine}/resource/actions?{CATALOG}", "restart"),
        "a project": ("POST", "projects", {"project": {**own, "spec": {}}}),
        "a wider project": ("PUT", "projects/prod", {"project": wide}),
        "to delete a project": ("DELETE", "projects/prod", None),
        "an application set": ("POST", "applicationsets", {**own, "spec": made["spec"]}),
        "to delete an application set": ("DELETE", "applicationsets/prod", None),
        "a repository": ("POST", "repositories", {"type": "git", "repo": "http://elsewhere.example/mine.git"}),
        "a cluster": ("POST", "clusters", {"name": "mine", "server": "https://elsewhere.example"}),
    }


def asked(instance: Instance, token: Mapping[str, str]) -> Mapping[str, Reply]:
    """What Argo CD answers to each of them."""
    url = instance.json("urls")["argocd"]
    return {
        what: fetch(f"{url}/api/v1/{path}", method=method, headers=token, body=body)
        for what, (method, path, body) in tries(instance).items()
    }


def session(instance: Instance, role: str) -> Mapping[str, str]:
    """What somebody shows who has logged in to Argo CD as a role."""
    url, password = instance.json("urls")["argocd"], credentials.keep(instance.settings).passwords[role]
    made = fetch(f"{url}/api/v1/session", method="POST", body={"username": role, "password": password})
    assert made.status == 200, made.body
    return {"Authorization": f"Bearer {made.json['token']}"}


@pytest.mark.parametrize("role", ROLES)
def test_argo_cd_lets_no_role_run_anything_but_what_the_branch_says(instance: Instance, role: str) -> None:
    had = argo_cd(instance, "Application", "catalog-prod")
    said = asked(instance, session(instance, role))
    assert {what: reply for what, reply in said.items() if not refused(what, role, reply)} == {}
    assert argo_cd(instance, "Application", "catalog-prod")["spec"] == had["spec"]


def refused(what: str, role: str, reply: Reply) -> bool:
    """Whether it is Argo CD that says no, before the cluster is even asked, and for a reason that stays."""
    # Who may sync may sync what the branch says, and is told so.
    following = what in ("another revision", "a rollback") and role != "developer"
    if following and reply.status in (400, 412) and "auto-sync" in reply.body:
        return True
    return reply.status == 403 and "permission denied" in reply.body


def test_argo_cd_lets_the_developer_sync_nothing_of_prod_not_even_by_force(instance: Instance) -> None:
    url, token = instance.json("urls")["argocd"], session(instance, "developer")
    for body in ({}, {"strategy": {"apply": {"force": True}}}, {"prune": True}, {"dryRun": True}):
        reply = fetch(f"{url}/api/v1/applications/catalog-prod/sync", method="POST", headers=token, body=body)
        assert (reply.status, "permission denied: applications, sync" in reply.body) == (403, True), reply


def test_argo_cd_tells_a_stranger_nothing_and_lets_them_do_nothing(instance: Instance) -> None:
    url = instance.json("urls")["argocd"]
    for token in ({}, {"Authorization": f"Bearer {secrets.token_hex(16)}"}):
        said = {"to look": fetch(f"{url}/api/v1/applications", headers=token), **asked(instance, token)}
        words = "no session information"
        assert {what: reply for what, reply in said.items() if (reply.status, words in reply.body) != (401, True)} == {}
    wrong = fetch(f"{url}/api/v1/session", method="POST", body={"username": "lead", "password": "mine"})
    assert (wrong.status, "Invalid username or password" in wrong.body) == (401, True), wrong


def deploy(environment: str, branch: str) -> dict[str, str]:
    """The trailers that the pipeline would write."""
    return {"Kind": "deploy", "Environment": environment, "Service": "catalog", "Branch": branch, "Triggered-By": "developer"}
