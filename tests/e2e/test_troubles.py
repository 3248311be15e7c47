"""When a release is bad, late, or comes twice at once: it goes back by itself, stays back, and nothing is lost or doubled."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from slipway import access, git, gitops, pipeline, runs, shell
from slipway.kube import Object
from tests.e2e import delivering, developing, ledger, train
from tests.e2e.conftest import Instance, Keep
from tests.e2e.developing import Run, Workspace
from tests.e2e.ledger import Sight

FOLLOWED = 600.0

Change = Callable[[Workspace], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A place for clones."""
    return tmp_path


@pytest.fixture(autouse=True)
def kept(instance: Instance, request: pytest.FixtureRequest, ledgers: Keep) -> Generator[None]:
    """The ledger of each test's end, beside its result."""
    yield
    ledgers(request.node.name, {"end": ledger.look(instance)})


def landed(instance: Instance, folder: Path, change: Change) -> str:
    """The commit of develop after a change was merged to it, and its run passed."""
    branch = f"feature/{secrets.token_hex(3)}"
    work = Workspace.clone(instance, folder / secrets.token_hex(3))
    change(work)
    work.commit()
    train.passed(instance, work.push(branch), branch)
    instance.invoke("merge", branch, timeout=FOLLOWED)
    tip = Workspace.clone(instance, folder / secrets.token_hex(3)).head
    train.passed(instance, tip, "develop")
    return tip


def released(instance: Instance, folder: Path, change: Change) -> str:
    """The version of a release with a change, which prod runs now."""
    landed(instance, folder, change)
    version = developing.next_release(instance)
    instance.invoke("release.cut", version, timeout=FOLLOWED)
    instance.invoke("approve", f"v{version}", "--user", "lead")
    instance.invoke("promote", "prod", "--release", f"v{version}", timeout=FOLLOWED)
    return version


def test_i11_a_rollback_brings_back_the_very_same_bytes_and_stays(instance: Instance, folder: Path) -> None:
    before = ledger.look(instance)
    had = {key: entry.files for key, entry in delivering.read(instance, "gitops-prod")[1].items() if key[0] == "prod"}
    former = before.records["prod", "catalog"].release

    def change(work: Workspace) -> None:
        work.touch("catalog")
        work.configure("storefront", "prod", {"notice": "a change of configuration alone"})

    version = released(instance, folder, change)
    after = ledger.look(instance)
    assert {service for _, service in before.moved(after, ["prod"])} >= {"catalog", "storefront"}

    instance.invoke("rollback", "prod", "--to", former.removeprefix("v"), timeout=FOLLOWED)
    back = ledger.look(instance)
    now = {key: entry.files for key, entry in delivering.read(instance, "gitops-prod")[1].items() if key[0] == "prod"}
    assert now == had
    assert back.of("prod") == before.of("prod")
    for (environment, service), record in back.records.items():
        if environment == "prod" and service in instance.settings.services:
            assert back.images["prod", service] == {record.digest}
    assert {f"{service}:{version}" for service in instance.settings.services} <= set(back.tags), "a rollback takes no tag away"

    stays(instance, version, ["prod"], back)


@pytest.mark.long
def test_i11_stage_and_dev_stay_where_they_were_rolled_back_to(instance: Instance, folder: Path) -> None:
    """There the pipeline goes by itself: what was rolled back does not come again before somebody asks for it."""
    landed(instance, folder, lambda work: work.touch("catalog"))
    version = developing.next_release(instance)
    instance.invoke("release.cut", version, timeout=FOLLOWED)
    new = ledger.look(instance)
    try:
        for environment in ("stage", "dev"):
            instance.invoke("rollback", environment, timeout=FOLLOWED)
        back = ledger.look(instance)
        for environment in ("stage", "dev"):
            assert back.records[environment, "catalog"].digest != new.records[environment, "catalog"].digest
            assert back.images[environment, "catalog"] == {back.records[environment, "catalog"].digest}
        assert back.of("qa") == new.of("qa")
        stays(instance, version, ["stage", "dev"], back)
    finally:
        instance.invoke("ci", "--ref", "develop", "--to", "dev", timeout=FOLLOWED)
    asked = ledger.look(instance)
    assert asked.records["dev", "catalog"].digest == new.records["dev", "catalog"].digest, "somebody asked for it"


def stays(instance: Instance, version: str, environments: Sequence[str], back: Sight) -> None:
    """Return when everything that goes by itself has run once more, and these environments have stayed what they were."""
    for branch in ("develop", f"release/v{version}"):
        run = instance.json("ci", "--ref", branch, check=False, timeout=FOLLOWED)
        assert run["state"] in ("passed", "superseded"), run
    ledger.refresh(instance, environments)
    now = ledger.look(instance)
    for environment in environments:
        assert now.of(environment) == back.of(environment)
    assert back.changed(now, environments) == set()
    assert back.moved(now, environments) == set()


@dataclass(frozen=True)
class Unhealthy:
    """A release in which one of three changed services does not start in stage: what stage was, and is.

    Attributes:
        made: The commits that it made there, the newest first.
        brought: What the first of them brought, by service.
        sets: The replica sets of cart in stage afterwards.
    """

    version: str
    run: Run
    said: shell.Result
    before: Sight
    after: Sight
    made: Sequence[git.Commit]
    brought: dict[str, str]
    sets: Sequence[Object]


@pytest.fixture(scope="module")
def unhealthy(instance: Instance, tmp_path_factory: pytest.TempPathFactory) -> Unhealthy:
    """It starts everywhere but in stage: no test of the service alone can know. Whatever comes of it, develop is well again."""
    folder = tmp_path_factory.mktemp("unhealthy")

    def ill(work: Workspace) -> None:
        work.run_otherwise("catalog", "stage", {"env": {"PYTHONHOME": "/nowhere"}})
        work.touch("cart", "storefront")

    def well(work: Workspace) -> None:
        work.run_otherwise("catalog", "stage", {"env": {}})
        work.touch("catalog")

    try:
        landed(instance, folder, ill)
        before = ledger.look(instance)
        version = developing.next_release(instance)
        branch = f"release/v{version}"
        said = instance.invoke("release.cut", version, check=False, timeout=FOLLOWED)
        tip = git.refs(delivering.remote(instance, "app"))[f"refs/heads/{branch}"]
        run = developing.wait_run(instance, tip, branch=branch)
        after = ledger.look(instance)
        made = developing.commits(instance, folder / "tree", "gitops-prod", since=before.commits["gitops-prod"])
        git.export(folder / "tree", made[-1].sha, ["envs/stage"], folder / "then")
        then = gitops.entries(folder / "then")
        brought = {service: then["stage", service].record.digest for service in instance.settings.services}
        where = {"namespace": "stage", "labels": "app.kubernetes.io/name=cart", "api_version": "apps/v1"}
        return Unhealthy(version, run, said, before, after, made, brought, instance.kube.list("ReplicaSet", **where))
    finally:
        landed(instance, folder, well)


@pytest.mark.long
def test_i15_an_unhealthy_release_is_taken_back_and_cannot_go_on(instance: Instance, unhealthy: Unhealthy) -> None:
    assert unhealthy.run.state == "failed", (unhealthy.run.said, unhealthy.said.stderr)
    assert unhealthy.after.of("stage") == unhealthy.before.of("stage")
    for (environment, service), record in unhealthy.after.records.items():
        if environment == "stage" and service in instance.settings.services:
            assert unhealthy.after.images["stage", service] == {record.digest}
    refused = instance.invoke("promote", "prod", "--release", f"v{unhealthy.version}", check=False)
    assert refused.code == 1
    assert "rule 'stage-first'" in refused.stderr


@pytest.mark.long
def test_i5_when_one_of_several_does_not_start_all_of_them_come_back(unhealthy: Unhealthy) -> None:
    back, forth = unhealthy.made
    several = {"cart", "catalog", "storefront"}
    assert (forth.trailers["Kind"], back.trailers["Kind"]) == ("deploy", "revert")
    assert set(forth.trailers["Service"].split(", ")) == set(back.trailers["Service"].split(", ")) >= several
    assert back.trailers["Restores"] == forth.parents[0] == unhealthy.before.commits["gitops-prod"]
    for service in several:
        assert unhealthy.brought[service] != unhealthy.before.records["stage", service].digest
    # Cart did start: stage came to run it, and does not any more.
    images = {one["spec"]["template"]["spec"]["containers"][0]["image"]: one["spec"]["replicas"] for one in unhealthy.sets}
    came = next(image for image in images if image.endswith(unhealthy.brought["cart"]))
    assert images[came] == 0
    assert unhealthy.after.images["stage", "cart"] == {unhealthy.before.records["stage", "cart"].digest}
    assert unhealthy.before.changed(unhealthy.after, ["dev", "qa", "prod"]) == set()


def test_i13_an_older_commit_that_comes_late_changes_nothing(instance: Instance, folder: Path) -> None:
    older = landed(instance, folder, lambda work: work.touch("catalog"))
    landed(instance, folder, lambda work: work.touch("catalog"))
    before = ledger.look(instance)
    run = runs.new(instance.settings, branch="develop", commit=older, pusher="developer", where=runs.HERE)
    with runs.alone(instance.settings), runs.attended(instance.settings, run):
        recorder = runs.Recorder(instance.settings, run)
        recorder.begin()
        late = pipeline.run(access.open(instance.settings), older, "develop", recorder=recorder)
        recorder.end(late.state, verdict=late.verdict, trouble=late.trouble)
    assert late.state == runs.SUPERSEDED, late
    after = ledger.look(instance)
    assert after.commits == before.commits


def test_i17_two_promotions_at_once_both_land_in_one_history(instance: Instance, folder: Path) -> None:
    branch = f"feature/{secrets.token_hex(3)}"
    work = Workspace.clone(instance, folder / "work")
    work.touch("cart", "catalog")
    work.commit()
    train.passed(instance, work.push(branch, options=["deploy=dev"]), branch)
    wanted = ledger.look(instance).of("dev")
    first, _ = delivering.read(instance, "gitops-nonprod")
    done: dict[str, shell.Result] = {}

    def bring(service: str) -> None:
        done[service] = instance.invoke("promote", "qa", "--service", service, check=False, timeout=FOLLOWED)

    threads = [threading.Thread(target=bring, args=[service]) for service in ("cart", "catalog")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {service: result.code for service, result in done.items()} == {"cart": 0, "catalog": 0}, done
    last = ledger.look(instance)
    for service in ("cart", "catalog"):
        assert last.records["qa", service].digest == wanted[service].digest
        assert last.images["qa", service] == {wanted[service].digest}
    git.clone(delivering.remote(instance, "gitops-nonprod"), folder / "tree", branch=gitops.BRANCH)
    made = git.log(folder / "tree", f"{first}..{last.commits['gitops-nonprod']}")
    assert [len(commit.parents) for commit in made] == [1, 1]
    assert {commit.trailers["Service"] for commit in made} == {"cart", "catalog"}


@pytest.mark.long
def test_a_hotfix_begins_at_what_prod_runs(instance: Instance, folder: Path) -> None:
    version = released(instance, folder, lambda work: work.touch("storefront"))
    instance.invoke("release.finish", version, "--user", "lead", timeout=FOLLOWED)
    landed(instance, folder, lambda work: work.touch("cart"))  # develop goes on, and must not be in the fix
    sight = ledger.look(instance)
    major, minor, patch = version.split(".")
    fix = f"{major}.{minor}.{int(patch) + 1}"
    instance.invoke("release.cut", fix, timeout=FOLLOWED)
    branch = f"release/v{fix}"
    work = Workspace.clone(instance, folder / "fix", branch=branch)
    work.touch("catalog")
    work.commit("Mend catalog")
    train.passed(instance, work.push(branch), branch)
    instance.invoke("approve", f"v{fix}", "--user", "lead")
    instance.invoke("promote", "prod", "--release", f"v{fix}", timeout=FOLLOWED)
    after = ledger.look(instance)
    assert {service for _, service in sight.moved(after, ["prod"])} == {"catalog"}
    assert after.records["prod", "catalog"].version.startswith(f"{fix}-rc.")

    instance.invoke("release.finish", fix, "--user", "lead", timeout=FOLLOWED)
    refs = git.refs(delivering.remote(instance, "app"))
    develop = Workspace.clone(instance, folder / "develop")
    assert git.contains(develop.folder, refs["refs/heads/develop"], work.head), "the mend is in develop"
    for branch in ("main", "develop"):
        train.passed(instance, refs[f"refs/heads/{branch}"], branch)
    finished = ledger.look(instance)
    assert after.changed(finished, ["stage", "prod"]) == set()
    # Develop has it now, as it has whatever is merged to it.
    assert finished.records["dev", "catalog"].inputs == after.records["prod", "catalog"].inputs
    assert finished.images["dev", "catalog"] == {finished.records["dev", "catalog"].digest}


def test_i3_a_tag_that_was_moved_is_noticed_before_anything_changes(instance: Instance, folder: Path) -> None:
    branch = f"feature/{secrets.token_hex(3)}"
    work = Workspace.clone(instance, folder / "work")
    work.touch("catalog")
    work.commit()
    commit = work.push(branch)
    train.passed(instance, commit, branch)
    moved = ledger.move_tag(instance, "catalog", commit)
    before = ledger.look(instance)
    try:
        said = instance.json("ci", "--ref", branch, "--to", "dev", check=False, timeout=FOLLOWED)
        assert said["state"] == "failed"
        assert moved.tag in str(said), said
        assert ledger.look(instance).commits == before.commits
    finally:
        moved.restore()


def test_what_was_pushed_while_the_runner_was_down_is_caught_up(instance: Instance, folder: Path) -> None:
    runner = ledger.runner(instance)
    runner.stop(timeout=20)
    branch = f"feature/{secrets.token_hex(3)}"
    work = Workspace.clone(instance, folder / "work")
    work.touch("catalog")
    work.commit()
    commit = work.push(branch)
    assert commit not in {run.commit for run in developing.runs(instance)}
    runner.start()
    train.passed(instance, commit, branch)


@pytest.mark.long
def test_a_run_that_is_killed_between_image_and_commit_leaves_nothing_half_done(instance: Instance, folder: Path) -> None:
    branch = f"feature/{secrets.token_hex(3)}"
    work = Workspace.clone(instance, folder / "work")
    work.touch("catalog")
    work.commit()
    before = ledger.look(instance)
    was = delivering.read(instance, "gitops-nonprod")[1]
    commit = work.push(branch, options=["deploy=dev"])
    developing.wait_stage(instance, commit, "images")
    runner = ledger.runner(instance)
    runner.kill()
    try:
        now = delivering.read(instance, "gitops-nonprod")[1]
        killed = ledger.look(instance)
    finally:
        runner.start()
    # Dev has all of it, or nothing: a record, its values and its manifests say one thing, and nobody else's has changed.
    assert {key: entry for key, entry in now.items() if key != ("dev", "catalog")} == {
        key: entry for key, entry in was.items() if key != ("dev", "catalog")
    }
    mine, had = now["dev", "catalog"], was["dev", "catalog"]
    if mine != had:
        assert mine.record.source_commit == commit
        [deployment] = [item for item in mine.manifests if item["kind"] == "Deployment"]
        image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
        assert image == f"{mine.record.image}@{mine.record.digest}"
        assert mine.values["image"]["digest"] == mine.record.digest
    assert killed.images["dev", "catalog"] <= {had.record.digest, mine.record.digest}
    assert before.changed(killed, ["qa", "stage", "prod"]) == set()
    train.passed(instance, commit, branch)
    after = ledger.look(instance)
    assert after.images["dev", "catalog"] == {after.records["dev", "catalog"].digest}
    assert after.records["dev", "catalog"].source_commit == commit
    made = developing.commits(instance, folder / "tree", "gitops-nonprod", since=before.commits["gitops-nonprod"])
    assert len(made) == 1, "delayed, never doubled"
