"""A release train from a feature branch to prod, and what holds of it at every step: the invariants by their numbers."""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slipway import credentials, git, gitops, images, locks, shell
from tests.e2e import delivering, developing, ledger, train, writing
from tests.e2e.conftest import Instance, Keep
from tests.e2e.developing import Workspace
from tests.e2e.ledger import Sight
from tests.e2e.train import Train
from tests.e2e.writing import Tree

SERVICES = {"cart", "catalog", "orders", "storefront"}


@pytest.fixture(scope="module")
def driven(instance: Instance, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """A train that went all the way."""
    return train.drive(instance, tmp_path_factory.mktemp("train"))


@pytest.fixture(autouse=True)
def kept(driven: Train, ledgers: Keep) -> None:
    """The ledger of the train's every step, beside the results of each test."""
    ledgers(driven.release, driven.sights)


def replaced(before: Sight, after: Sight, environment: str) -> set[str]:
    return {service for _, service in before.moved(after, [environment])}


def test_i1_the_digest_is_one_and_the_same_in_git_registry_and_pods_of_stage_and_prod(driven: Train) -> None:
    found = {(row.environment, row.service): row for row in ledger.rows(driven.instance, driven.promoted)}
    for service in SERVICES:
        stage, prod = found["stage", service], found["prod", service]
        assert prod.in_git == prod.in_registry == stage.in_git == stage.in_registry
        assert prod.in_pods == stage.in_pods == (prod.in_git,)
        assert prod.lock == stage.lock != ""
        assert prod.release == stage.release == driven.release
        assert driven.finished.tags[f"{service}:{driven.version}"] == prod.in_git


def test_i1_stage_ran_the_same_digest_when_it_was_tried(driven: Train, tmp_path: Path) -> None:
    tree = Tree.clone(driven.instance, tmp_path / "tree", "gitops-prod").folder
    lock = driven.promoted.records["prod", "catalog"].lock
    [result] = [one for one in locks.stage_results(tree) if one.lock == lock]
    assert result.environment == "stage"
    for service in SERVICES:
        prod = driven.promoted.records["prod", service].digest
        assert result.digests[service] == driven.staged.records["stage", service].digest == prod
        assert driven.staged.images["stage", service] == {prod}
    # What was looked at is what stage ran then, and the result came before prod.
    assert git.contains(tree, driven.staged.commits["gitops-prod"], result.commit)


def test_i2_promoting_to_prod_builds_nothing(driven: Train) -> None:
    before, after = driven.staged.tags, driven.promoted.tags
    assert set(after.values()) == set(before.values())
    assert driven.promoted.held == driven.staged.held, "no manifest came, tagged or not"
    assert {service for service in SERVICES if driven.merged.held[service] < driven.staged.held[service]} >= {"catalog", "cart"}
    assert {tag for tag in after if tag not in before} == {f"{service}:{driven.version}" for service in SERVICES}


def test_i3_no_tag_ever_names_another_digest(driven: Train) -> None:
    for before, after in itertools.pairwise(driven.sights.values()):
        assert {tag: after.tags.get(tag) for tag in before.tags} == dict(before.tags)


def test_i3_a_releases_tag_that_somebody_gave_to_another_image_is_noticed_before_prod_changes(driven: Train) -> None:
    """The registry asks nobody who they are: a tag proves nothing, and the digest is compared."""
    said = driven.misnamed.stderr
    assert driven.misnamed.code != 0
    assert f"catalog:{driven.version} names {driven.start.records['prod', 'catalog'].digest} already" in said, said
    assert driven.unmoved[0] == driven.unmoved[1]


def test_i4_a_change_of_one_service_replaces_the_pods_of_that_service_alone(driven: Train) -> None:
    assert replaced(driven.start, driven.on_request, "dev") == {"catalog"}
    changed = driven.start.changed(driven.on_request, ["dev"])
    assert {ledger.service_of(name) for name in changed} <= {"catalog"}
    for service in SERVICES - {"catalog"}:
        assert driven.on_request.records["dev", service].digest == driven.start.records["dev", service].digest


def test_i4_what_is_pushed_without_a_wish_runs_nowhere(driven: Train) -> None:
    assert driven.on_request.records == driven.unasked.records
    assert driven.on_request.moved(driven.unasked, driven.instance.settings.environments) == set()
    names = [stage["name"] for stage in driven.runs["two"].said["stages"]]
    assert names == ["what changed", "lint and test", "images", "verdict"]


def test_a_merge_to_develop_runs_in_dev_and_qa_and_nowhere_else(driven: Train) -> None:
    for environment in ("dev", "qa"):
        for service in ("cart", "catalog", "orders"):
            record = driven.merged.records[environment, service]
            assert record.inputs == driven.merged.records["dev", service].inputs
            assert record.digest != driven.start.records[environment, service].digest
            assert driven.merged.images[environment, service] == {record.digest}
    assert driven.start.changed(driven.merged, ["stage", "prod"]) == set()


def test_i5_a_release_lands_as_one_commit(driven: Train, tmp_path: Path) -> None:
    remote = delivering.remote(driven.instance, "gitops-prod")
    git.clone(remote, tmp_path / "tree", branch=gitops.BRANCH)
    since = driven.staged.commits["gitops-prod"]
    touching = git.log(tmp_path / "tree", f"{since}..{driven.promoted.commits['gitops-prod']}", paths=["envs/prod"])
    assert len(touching) == 1
    assert set(touching[0].trailers["Service"].split(", ")) == SERVICES
    before, after = driven.staged, driven.promoted
    other = {name for name in SERVICES if before.records["prod", name].digest != after.records["prod", name].digest}
    assert replaced(before, after, "prod") == other >= {"cart", "catalog", "orders"}


def test_i6_what_stage_and_prod_run_was_built_from_the_release_branch(driven: Train, tmp_path: Path) -> None:
    release = Workspace.clone(driven.instance, tmp_path / "release", branch=f"release/{driven.release}")
    for environment in ("stage", "prod"):
        for service in SERVICES:
            record = driven.promoted.records[environment, service]
            assert record.branch in (f"release/{driven.release}", "main")  # what no release has changed since the beginning
            # The image itself says so, and every pod was seen to run just that image.
            assert driven.promoted.images[environment, service] == {record.digest}
            for commit in (images.revision(f"{record.image}@{record.digest}") or "", record.source_commit):
                assert git.contains(release.folder, "HEAD", commit), f"{environment}/{service} comes from {commit}"


def test_i7_a_digest_that_was_edited_after_stage_ran_the_lock_is_refused(driven: Train, tmp_path: Path) -> None:
    """By the pipeline's own hand and key: what it says of itself is not what allows it."""
    environment, service, other = "prod", "catalog", f"sha256:{secrets.token_hex(32)}"
    tree = Tree.clone(driven.instance, tmp_path / "tree", "gitops-prod")
    [record] = tree.read("envs/prod/catalog/record.yaml")
    before = delivering.read(driven.instance, "gitops-prod")[0]
    said = {
        "Environment": environment,
        "Service": service,
        "Version": record["version"],
        "Source-Commit": record["source_commit"],
        "Branch": record["branch"],
        "Release": record["release"],
        "Triggered-By": "developer",
    }
    tree.say(environment, service, record["digest"], other)
    told = {**said, "Kind": "promotion", "Lock": record["lock"], "Promoted-From": "stage", "Approved-By": "lead"}
    refused = tree.push("pipeline", trailers=told)
    assert writing.rules(refused) == {"lock", "version"}, refused

    # With a lock that says the same, it is a lock that stage has not run.
    tree = Tree.clone(driven.instance, tmp_path / "again", "gitops-prod")
    mine = next(lock for lock in locks.read_locks(tree.folder) if lock.hash == record["lock"])
    version = f"{driven.version}-rc.{10**6}"  # or it would be another image under a version that is taken
    changed = [replace(one, digest=other, version=version) if one.service == service else one for one in mine.services]
    edited = replace(mine, version=version, services=tuple(changed))
    for name, content in edited.files.items():
        (tree.folder / name).parent.mkdir(parents=True)
        (tree.folder / name).write_bytes(content)
    tree.say(environment, service, record["digest"], other)
    tree.say(environment, service, record["lock"], edited.hash)
    tree.say(environment, service, record["version"], version)
    refused = tree.push("pipeline", trailers={**said, "Kind": "deploy", "Lock": edited.hash, "Version": version})
    assert writing.rules(refused) == {"stage-first", "approval", "dispatch"}, refused
    assert delivering.read(driven.instance, "gitops-prod")[0] == before


def test_i8_nothing_reaches_prod_before_somebody_else_approved(driven: Train) -> None:
    assert driven.too_early.code == 1
    assert "rule 'approval'" in driven.too_early.stderr
    assert driven.own.code == 1
    assert re.search(r"rule '(four-eyes|approval)'", driven.own.stderr), driven.own.stderr


def test_i8_past_the_tasks_the_git_server_refuses_it_and_then_the_cluster_does(driven: Train) -> None:
    bypass = driven.bypass
    assert writing.rules(bypass.said) == {"approval"}, bypass.said
    assert f"nobody who may has approved {driven.release}" in bypass.said
    assert "Allowed: lead approves this lock without being an author" in bypass.said
    assert bypass.image not in bypass.listed, "what the Git server has refused is taken off the list again"
    assert bypass.by_hand.code != 0, bypass.by_hand.stdout
    assert f"REFUSED by rule 'approved digests': image {bypass.image} is not approved for prod" in bypass.by_hand.stderr


def test_i9_stage_gets_a_release_by_itself_and_prod_does_not(driven: Train) -> None:
    assert driven.merged.of("prod") == driven.staged.of("prod")
    assert driven.merged.changed(driven.staged, ["prod", "dev", "qa"]) == set()
    assert {record.release for name, record in driven.staged.of("stage").items() if name in SERVICES} == {driven.release}


def test_i10_finishing_a_release_changes_no_environment(driven: Train, tmp_path: Path) -> None:
    everywhere = driven.instance.settings.environments
    # The pipeline has run for what it pushed.
    assert {driven.runs[branch].state for branch in ("main", "develop")} == {"passed"}
    assert driven.again.changed(driven.finished, everywhere) == set()
    assert driven.again.moved(driven.finished, everywhere) == set()
    assert driven.again.commits == driven.finished.commits
    refs = git.refs(delivering.remote(driven.instance, "app"))
    main = Workspace.clone(driven.instance, tmp_path / "main", branch="main")
    assert refs[f"refs/tags/{driven.release}"]
    log = {commit.sha for commit in git.log(main.folder, "HEAD", limit=1000)}
    tip = refs[f"refs/heads/release/{driven.release}"]
    assert tip in log
    for service in SERVICES:
        assert driven.promoted.records["prod", service].source_commit in log
    for part in ("services", "charts"):
        assert git.content(main.folder, "HEAD", part) == git.content(main.folder, tip, part) != "", "main is what was released"
    develop = Workspace.clone(driven.instance, tmp_path / "develop")
    assert git.contains(develop.folder, "HEAD", tip), "what was released is in develop"


def test_i14_no_environment_feels_what_happens_in_another(driven: Train) -> None:
    assert driven.start.changed(driven.on_request, ["qa", "stage", "prod"]) == set()
    assert driven.start.changed(driven.merged, ["stage", "prod"]) == set()
    assert driven.merged.changed(driven.staged, ["dev", "qa", "prod"]) == set()
    assert driven.staged.changed(driven.promoted, ["dev", "qa", "stage"]) == set()


def test_i16_promoting_again_makes_no_commit_and_replaces_no_pod(driven: Train) -> None:
    assert driven.again.commits == driven.promoted.commits
    assert driven.promoted.moved(driven.again, driven.instance.settings.environments) == set()


def test_i18_a_version_increases_and_is_never_used_again(driven: Train) -> None:
    for version in (driven.version, "0.1.0", "0.0.9"):
        refused = driven.instance.invoke("release.cut", version, check=False)
        assert refused.code == 1, refused.stdout
        assert "rule 'release-name'" in refused.stderr
    assert all(
        record.version.startswith(f"{driven.version}-rc.")
        for name, record in driven.promoted.of("prod").items()
        if name in {"cart", "catalog", "orders"}
    )


def test_i19_the_history_of_prod_can_be_told_from_git_alone(driven: Train) -> None:
    told: Any = driven.instance.json("history", "prod")
    changes = told["changes"] if isinstance(told, dict) else told
    text = str(changes)
    for expected in (driven.release, "lead", "stage", driven.promoted.records["prod", "catalog"].lock[:19]):
        assert expected in text, expected


def test_how_often_and_how_fast_prod_is_delivered_is_told_by_git_the_runs_and_the_cluster(driven: Train) -> None:
    told: Any = driven.instance.json("metrics")
    rows = {(row["environment"], row["service"]): row for row in told["rows"]}
    for service in ("", "cart", "catalog", "orders"):
        row = rows["prod", service]
        assert row["deployments"] >= 1, row
        # Each commit of the application is in app.git, and comes before prod runs it.
        assert row["lead"]["samples"] >= 1, row
        assert row["lead"]["longest"] >= row["lead"]["median"] > 0, row
    # No run waits for what somebody promotes to prod: Argo CD says when that ran. Dev has its runs.
    assert told["sources"]["cluster"] >= 1, told["sources"]
    assert told["sources"]["run"] >= 1, told["sources"]


def test_stage_and_prod_differ_in_nothing_but_what_each_environment_says(driven: Train) -> None:
    told: Any = driven.instance.json("diff", "stage", "prod")
    assert (told["first"], told["second"]) == ("stage", "prod")
    services = {one["service"]: one for one in told["services"]}
    assert set(services) >= SERVICES
    for name in SERVICES:
        one = services[name]
        assert one["same_artifact"], one["artifact"]
        assert {side["release"] for side in (one["first"], one["second"])} == {driven.release}
        assert {value["cause"] for value in one["values"]} <= {"environment"}, one["values"]
    [notice] = [value for value in services["catalog"]["values"] if value["name"] == "config.notice"]
    assert "This is stage." in notice["first"]
    assert notice["second"] is None


# What a commit of records says by its kind, beside the kind itself.
RECORDS = {"Environment", "Service", "Version", "Source-Commit", "Branch", "Triggered-By"}
SAID = {
    "genesis": RECORDS - {"Triggered-By"},
    "deploy": RECORDS,
    "request": RECORDS,
    "promotion": RECORDS | {"Promoted-From"},
    "rollback": RECORDS | {"Restores"},
    "revert": RECORDS | {"Restores"},
    "release": {"Environment", "Release", "Lock", "Triggered-By"},
    "load": {"Environment", "Release", "Lock", "Triggered-By"},
    "approval": {"Release", "Lock", "Approved-By", "Triggered-By"},
}


def unsaid(commit: git.Commit) -> set[str]:
    """What a commit has to say of itself, and does not."""
    told = commit.trailers
    wanted = SAID[told["Kind"]]
    if told["Kind"] == "promotion" and told["Environment"] == "prod":
        wanted = wanted | {"Release", "Lock", "Approved-By"}
    if told["Kind"] == "deploy" and told["Environment"] == "stage":
        wanted = wanted | {"Release", "Lock"}
    return {name for name in wanted if not told.get(name)}


@pytest.mark.parametrize("repository", ["gitops-nonprod", "gitops-prod"])
def test_i19_every_commit_is_signed_by_whoever_made_it_and_says_all_of_itself(
    driven: Train, tmp_path: Path, repository: str
) -> None:
    tree, signers = Tree.clone(driven.instance, tmp_path / "tree", repository).folder, tmp_path / "signers"
    signers.write_text(credentials.keep(driven.instance.settings).signers_file)
    log = git.log(tree, "HEAD", limit=100_000)
    assert log[-1].trailers["Kind"] == "genesis"

    mine = ["git", "-C", tree, "-c", "gpg.format=ssh", "-c", f"gpg.ssh.allowedSignersFile={signers}"]
    shell.run([*mine, "verify-commit", *(commit.sha for commit in log)], env=git.environment(), timeout=120)
    said = shell.run([*mine, "log", "--format=%H %G? %GS"], env=git.environment(), timeout=120).stdout.splitlines()
    signed = {sha: (good, signer) for sha, good, signer in (line.split(" ", 2) for line in said)}
    for commit in log:
        by = commit.trailers["Approved-By"] if commit.trailers["Kind"] == "approval" else "pipeline"
        assert signed[commit.sha] == ("G", credentials.address(by)), commit
        assert (commit.author, len(commit.parents)) == (by, 0 if commit == log[-1] else 1), commit
        assert unsaid(commit) == set(), commit


@pytest.mark.parametrize("repository", ["gitops-nonprod", "gitops-prod"])
def test_i19_what_runs_where_follows_from_what_the_commits_say(driven: Train, tmp_path: Path, repository: str) -> None:
    tree = Tree.clone(driven.instance, tmp_path / "tree", repository).folder
    words = ["git", "-C", tree, "log", "--reverse", "--format=%B"]
    told = dict(lines(shell.run(words, env=git.environment()).stdout))
    there = {key: entry.record for key, entry in gitops.entries(tree).items()}
    assert told == {"/".join(key): (record.version, record.digest[:19]) for key, record in there.items()}


def lines(text: str) -> Iterable[tuple[str, tuple[str, str]]]:
    """What each line of the messages says of one record: where, and which version by which digest."""
    for line in text.splitlines():
        if found := re.fullmatch(r"([a-z0-9-]+/[a-z0-9-]+) (\S+) (sha256:[0-9a-f]{12})", line):
            yield found[1], (found[2], found[3])


def test_i9_prod_stays_as_it_is_while_nobody_dispatches(driven: Train) -> None:
    """Whatever runs again, and however often Argo CD looks."""
    before = ledger.look(driven.instance)
    for branch in ("develop", f"release/{driven.release}", "main"):
        run = driven.instance.json("ci", "--ref", branch, check=False, timeout=train.FOLLOWED)
        assert run["state"] in ("passed", "superseded"), run
    ledger.refresh(driven.instance, ["prod"])
    after = ledger.look(driven.instance)
    assert after.of("prod") == before.of("prod")
    assert before.changed(after, ["prod"]) == set()
    assert before.moved(after, ["prod"]) == set()


def test_every_run_says_what_it_did_stage_by_stage(driven: Train) -> None:
    listed = {run.commit: run for run in developing.runs(driven.instance)}
    for run in driven.runs.values():
        assert run.commit in listed
        names = [stage["name"] for stage in run.said["stages"]]
        assert names[0] == "what changed", names
        assert all(stage["seconds"] >= 0 for stage in run.said["stages"])
