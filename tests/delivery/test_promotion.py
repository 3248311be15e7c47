"""Promotions, with real repositories and the Git server's own hooks; Argo CD and the cluster are a stand-in."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slipway import git, images, locks, promotion, releases
from slipway.admission import lists
from slipway.bench_pipeline.legs import Watched
from slipway.errors import CommandFailed, SlipwayError, WaitFailed
from slipway.gitops import Record
from slipway.kube import KubeError
from slipway.promotion import Change, Overtaken, PromotionFailed, Refused, deploying, tracing
from tests.delivery import promoting
from tests.delivery.promoting import World
from tests.delivery.receiving import PROD, Site, digest, landed

VALUES = "services/catalog/envs/dev.yaml"


@pytest.fixture
def world(begun_instance: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return promoting.world(begun_instance, tmp_path, monkeypatch)


@pytest.fixture
def hooked(begun_instance: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return promoting.world(begun_instance, tmp_path, monkeypatch, hooks=True)


def develop(world: World, files: Mapping[str, str | None]) -> str:
    """A commit on develop, however it came there."""
    world.site.branch("work", world.site.tip("develop"))
    made = world.site.commit(files)
    world.put("develop", made)
    return made


def change(records: Sequence[Record], environment: str = "dev", branch: str = "develop", **more: Any) -> Change:
    told: dict[str, Any] = {"triggered_by": "developer", **more}
    return Change(environment, "deploy", branch, tuple(records), **told)


def deploy(world: World, wanted: Change, **more: Any) -> promotion.Deployed:
    return promotion.deploy(world.access, wanted, phase=world.phase, clock=world.clock, **more)


def written(world: World, wanted: Change) -> str:
    """The commit of a promotion whose command was ended before it saw what became of it."""

    def ended() -> None:
        raise WaitFailed("interrupted")

    world.cluster.looks.append(ended)
    with pytest.raises(WaitFailed):
        deploy(world, wanted)
    return world.head(wanted.environment)


def test_a_promotion_is_one_signed_commit_that_says_what_from_where_and_by_whom(hooked: World) -> None:
    commit = develop(hooked, {VALUES: "a: 2\n"})
    others = {key: hooked.entry(*key) for key in (("dev", "cart"), ("qa", "catalog"))}
    before = hooked.head("dev")
    made = hooked.made("catalog", commit)
    hooked.phase = watched = Watched("deploy")
    done = deploy(hooked, change([made]), run="run-1")
    assert watched.written, "the benchmark goes by what is said then"
    newest, *rest = hooked.commits("dev")
    assert (newest.sha, newest.parents, rest[0].sha) == (done.commit, (before,), before)
    assert newest.trailers == {
        "Environment": "dev",
        "Service": "catalog",
        "Version": "0.2.0-dev.1",
        "Source-Commit": commit,
        "Branch": "develop",
        "Kind": "deploy",
        "Triggered-By": "developer",
        "Run": "run-1",
    }
    assert (done.made, done.changed, done.digests) == (True, ("catalog",), {"catalog": made.digest})
    assert hooked.entry("dev", "catalog").values["config"] == {"a": 2}
    assert {key: hooked.entry(*key) for key in others} == others
    raw = hooked.site.git("cat-file", "commit", done.commit, at=hooked.bare("dev")).stdout
    assert "BEGIN SSH SIGNATURE" in raw


def test_doing_it_again_makes_no_commit_and_sees_that_it_runs(world: World) -> None:
    wanted = change([world.made("catalog", develop(world, {VALUES: "a: 2\n"}))])
    first = deploy(world, wanted)
    again = deploy(world, wanted)
    assert (again.made, again.commit, again.changed) == (False, first.commit, ())
    assert again.digests == first.digests


@pytest.mark.parametrize("every", [True, False])
def test_doing_it_again_after_a_commit_for_somebody_else_sees_that_it_runs_as_well(world: World, every: bool) -> None:
    world.cluster.looks_at_all = every
    commit = develop(world, {VALUES: "a: 2\n"})
    wanted = change([world.made("catalog", commit)])
    first = deploy(world, wanted)
    later = deploy(world, change([world.made("cart", commit)]))
    again = deploy(world, wanted)
    assert (again.made, again.commit, again.digests) == (False, later.commit, first.digests)


def test_several_services_land_in_one_commit(world: World) -> None:
    commit = develop(world, {VALUES: "a: 2\n"})
    before = len(world.commits("dev"))
    done = deploy(world, change([world.made(name, commit) for name in ("cart", "catalog")]))
    assert set(done.changed) == {"cart", "catalog"}
    assert len(world.commits("dev")) == before + 1


def test_what_the_policy_refuses_is_refused_before_anything_is_written(world: World) -> None:
    commit = world.site.change("feature/x", {VALUES: "a: 2\n"})
    before = world.head("stage")
    with pytest.raises(Refused, match="feature/x cannot reach stage") as refused:
        deploy(world, change([world.made("catalog", commit)], "stage", "feature/x"))
    assert "branches" in refused.value.rules
    assert (world.head("stage"), world.admitted) == (before, [])


def test_an_artifact_that_is_not_of_the_branch_is_refused(world: World) -> None:
    commit = world.site.change("feature/x", {VALUES: "a: 2\n"})
    with pytest.raises(Refused, match="not every artifact's commit is on develop") as refused:
        deploy(world, change([world.made("catalog", commit)]))
    assert refused.value.rules == {"origin"}


def test_an_older_commit_that_is_late_changes_nothing(world: World) -> None:
    older = develop(world, {VALUES: "a: 2\n"})
    newer = develop(world, {VALUES: "a: 3\n"})
    deploy(world, change([world.made("catalog", newer, "0.2.0-dev.2")]))
    before = world.head("dev")
    with pytest.raises(Refused) as refused:
        deploy(world, change([world.made("catalog", older)]))
    assert refused.value.rules == {"order"}
    assert world.head("dev") == before


def test_who_comes_second_is_judged_again_by_what_is_there_then(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    older = develop(world, {VALUES: "a: 2\n"})
    newer = develop(world, {VALUES: "a: 3\n"})
    push, faster = git.push, [change([world.made("catalog", newer, "0.2.0-dev.2")])]

    def slow(*arguments: Any, **more: Any) -> None:
        if faster:
            deploy(world, faster.pop())
        push(*arguments, **more)

    monkeypatch.setattr(git, "push", slow)
    with pytest.raises(Refused) as refused:
        deploy(world, change([world.made("catalog", older)]))
    assert refused.value.rules == {"order"}
    assert world.record("dev", "catalog").source_commit == newer


def test_two_promotions_at_once_give_two_commits_one_after_the_other(hooked: World) -> None:
    commit = develop(hooked, {VALUES: "a: 2\n"})
    before = len(hooked.commits("dev"))
    hooked.access.fetch()
    failures: list[BaseException] = []

    def one(name: str) -> None:
        try:
            promotion.deploy(hooked.access, change([hooked.made(name, commit)]), phase=hooked.phase)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one, args=[name]) for name in ("cart", "catalog")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    log = hooked.commits("dev")
    assert len(log) == before + 2
    assert all(len(one.parents) == 1 for one in log[:-1])
    assert {hooked.record("dev", name).source_commit for name in ("cart", "catalog")} == {commit}


def test_stage_admits_the_images_before_the_commit_is_made(world: World) -> None:
    lock, records = release(world)
    before = world.head("stage")
    deploy(world, staged(lock, records))
    images = tuple(sorted(f"{one.image}@{one.digest}" for one in records))
    assert world.admitted == [("stage", images, before)]


def test_stage_takes_no_image_that_says_it_is_of_another_commit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, records = release(world)
    said = {f"{one.image}@{one.digest}": one.source_commit for one in records}
    monkeypatch.setattr(images, "revision", said.get)
    monkeypatch.setattr(deploying, "untraced", tracing.untraced)
    said[f"{records[1].image}@{records[1].digest}"] = "d" * 40
    before = world.head("stage")
    with pytest.raises(Refused, match=r"catalog 0\.2\.0-rc\.1 is said to be of \w{9}, and its image says ddddddddd") as refused:
        deploy(world, staged(lock, records))
    assert (refused.value.rules, world.head("stage"), world.admitted) == ({"origin"}, before, [])
    # Where anything may be tried nobody asks.
    deploy(world, change([world.made("catalog", lock.commit)]))
    said[f"{records[1].image}@{records[1].digest}"] = records[1].source_commit
    assert deploy(world, staged(lock, records)).made
    # What runs already is not asked for again, though the registry has lost it meanwhile.
    said.clear()
    assert not deploy(world, staged(lock, records)).made


def test_stage_takes_no_image_that_the_registry_lacks_or_that_says_no_commit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, records = release(world)
    monkeypatch.setattr(deploying, "untraced", tracing.untraced)
    monkeypatch.setattr(images, "revision", lambda _: None)
    with pytest.raises(SlipwayError, match="the registry does not hold localhost:5001/cart@sha256"):
        deploy(world, staged(lock, records))
    monkeypatch.setattr(images, "revision", lambda _: "")
    with pytest.raises(Refused, match="and its image says nothing"):
        deploy(world, staged(lock, records))


def test_what_the_git_server_refuses_is_not_admitted_any_longer(hooked: World, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, records = release(hooked)
    deploy(hooked, staged(lock, records))
    kept = set(hooked.lists["stage"])
    wanted = hooked.made("catalog", hooked.site.change("feature/x", {VALUES: "a: 9\n"}))
    monkeypatch.setattr(deploying, "judge", lambda *_: ())  # whose own copy of the policy asks for nothing
    with pytest.raises(git.PushRefused, match="REFUSED by rule 'branches'"):
        deploy(hooked, change([wanted], "stage", "feature/x"))
    assert hooked.admitted[-1][:2] == ("stage", (f"{wanted.image}@{wanted.digest}",))
    assert hooked.lists["stage"] == kept


def test_who_came_second_and_is_refused_leaves_nothing_admitted_but_what_the_first_one_runs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, records = release(world)
    world.site.branch("work", lock.commit)
    newer = world.site.commit({VALUES: "a: 3\n"})
    landed(world.site.push(f"{newer}:refs/heads/release/v0.2.0", user="developer"))
    both = [records[0], replace(records[1], source_commit=newer, version="0.2.0-rc.2", digest=digest("newer"))]
    later = locks.of(both, release="v0.2.0", version="0.2.0-rc.2", branch=lock.branch, commit=newer)
    push, faster = git.push, [staged(later, both)]

    def slow(*arguments: Any, **more: Any) -> None:
        if faster:
            deploy(world, faster.pop())
        push(*arguments, **more)

    monkeypatch.setattr(git, "push", slow)
    with pytest.raises(Refused) as refused:
        deploy(world, staged(lock, records))
    assert refused.value.rules == {"order"}
    assert {name: world.record("stage", name).digest for name in ("cart", "catalog")} == later.digests
    assert world.lists["stage"] == {f"{one.image}@{one.digest}" for one in both}


def test_a_list_that_cannot_be_corrected_is_told_with_the_refusal(hooked: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise KubeError("the API server does not answer")

    monkeypatch.setattr(deploying, "judge", lambda *_: ())
    monkeypatch.setattr(lists, "revoke", away)
    wanted = hooked.made("catalog", hooked.site.change("feature/x", {VALUES: "a: 9\n"}))
    with pytest.raises(
        git.PushRefused, match=r"(?s)rule 'branches'.*stage goes on to admit its images until the next `./invoke up`"
    ):
        deploy(hooked, change([wanted], "stage", "feature/x"))


def test_prod_takes_a_lock_that_stage_ran_and_somebody_else_approved(hooked: World) -> None:
    lock, records = release(hooked)
    done = deploy(hooked, staged(lock, records))
    wanted = Change(
        "prod",
        "promotion",
        lock.branch,
        tuple(records),
        how="dispatch",
        release=lock.release,
        lock=lock.hash,
        promoted_from="stage",
        triggered_by="developer",
    )
    with pytest.raises(Refused) as refused:
        deploy(hooked, wanted)
    assert refused.value.rules == {"stage-first", "approval"}
    result = locks.StageResult(lock.release, lock.hash, "stage", done.commit, lock.digests, "2026-01-02T03:04:05Z")
    landed(hooked.site.write(PROD, files=result.files, kind="release"))
    landed(hooked.site.approve(lock))
    deploy(hooked, wanted)
    newest = hooked.commits("prod")[0]
    told = {"Approved-By": "lead", "Promoted-From": "stage", "Release": "v0.2.0", "Lock": lock.hash, "Kind": "promotion"}
    assert told.items() <= newest.trailers.items()
    assert hooked.record("prod", "catalog").digest == hooked.record("stage", "catalog").digest


def test_one_that_does_not_start_is_taken_back_whole_by_one_commit(hooked: World) -> None:
    commit = develop(hooked, {VALUES: "a: 2\n"})
    former = {name: hooked.entry("dev", name) for name in ("cart", "catalog")}
    before = hooked.head("dev")
    wanted = [hooked.made(name, commit) for name in former]
    hooked.cluster.broken[wanted[1].digest] = "CrashLoopBackOff"
    with pytest.raises(
        PromotionFailed, match=r"catalog: pod catalog-\w+: CrashLoopBackOff(.|\n)*brought back what ran before"
    ) as failed:
        deploy(hooked, change(wanted))
    assert {name: hooked.entry("dev", name) for name in former} == former
    newest, failing, *_ = hooked.commits("dev")
    assert (newest.sha, failing.sha) == (failed.value.reverted, failed.value.commit)
    assert failing.parents == (before,)
    assert {"Kind": "revert", "Restores": before, "Service": "cart, catalog"}.items() <= newest.trailers.items()


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "ErrImagePull", "CreateContainerError", "CrashLoopBackOff"])
def test_what_cannot_start_is_not_waited_for(world: World, reason: str) -> None:
    made = world.made("catalog", develop(world, {VALUES: "a: 2\n"}))
    world.cluster.broken[made.digest] = reason
    with pytest.raises(PromotionFailed, match=reason):
        deploy(world, change([made]))
    assert world.clock.time < 130


def test_a_migration_that_failed_is_not_waited_for(world: World) -> None:
    commit = develop(world, {"services/catalog/helm/dev-values.yaml": "migrations: abc\n"})
    world.cluster.failed_jobs.add("catalog-migrate-abc")
    with pytest.raises(PromotionFailed, match="the migration catalog-migrate-abc failed: Job has reached its limit"):
        deploy(world, change([world.made("catalog", commit)]))


def test_a_refusal_of_the_cluster_is_told_in_its_words(world: World) -> None:
    made = world.made("catalog", develop(world, {VALUES: "a: 2\n"}))
    world.cluster.denied[made.digest] = (
        "deployments.apps is forbidden: ValidatingAdmissionPolicy 'x' denied request: not approved"
    )
    with pytest.raises(PromotionFailed, match=r"the cluster refuses it: .*not approved"):
        deploy(world, change([made]))


def test_argo_cd_that_is_away_delays_and_takes_nothing_back(world: World) -> None:
    made = world.made("catalog", develop(world, {VALUES: "a: 2\n"}))
    world.cluster.list("Application")
    world.cluster.away = True
    with pytest.raises(PromotionFailed, match=r"Argo CD has not looked at commit(.|\n)*run the same command again") as failed:
        deploy(world, change([made]), timeout=20.0)
    assert not failed.value.reverted
    assert world.head("dev") == failed.value.commit
    world.cluster.away = False
    again = deploy(world, change([made]))
    assert (again.made, again.commit, again.digests) == (False, failed.value.commit, {"catalog": made.digest})


def test_what_nobody_saw_to_its_end_is_taken_back_by_whoever_does_it_again(hooked: World) -> None:
    commit = develop(hooked, {VALUES: "a: 2\n"})
    former = {name: hooked.entry("dev", name) for name in ("cart", "catalog")}
    wanted, before = [hooked.made(name, commit) for name in former], hooked.head("dev")
    failing = written(hooked, change(wanted))
    hooked.cluster.broken[wanted[1].digest] = "CrashLoopBackOff"
    with pytest.raises(PromotionFailed, match=r"catalog-\w+: CrashLoopBackOff(.|\n)*brought back what ran before") as failed:
        deploy(hooked, change(wanted))
    assert {name: hooked.entry("dev", name) for name in former} == former
    newest = hooked.commits("dev")[0]
    assert (failed.value.commit, failed.value.reverted) == (failing, newest.sha)
    assert {"Kind": "revert", "Restores": before, "Service": "cart, catalog"}.items() <= newest.trailers.items()


def test_what_argo_cd_sees_late_is_taken_back_when_it_is_done_again(world: World) -> None:
    former, made = world.entry("dev", "catalog"), world.made("catalog", develop(world, {VALUES: "a: 2\n"}))
    world.cluster.list("Application")
    world.cluster.away = True
    with pytest.raises(PromotionFailed, match="run the same command again"):
        deploy(world, change([made]), timeout=20.0)
    world.cluster.away, world.cluster.broken[made.digest] = False, "slow"
    with pytest.raises(PromotionFailed, match="brought back what ran before"):
        deploy(world, change([made]), timeout=20.0)
    assert world.entry("dev", "catalog") == former


def test_only_the_commit_that_brought_what_does_not_run_is_taken_back(hooked: World) -> None:
    commit, former = develop(hooked, {VALUES: "a: 2\n"}), hooked.entry("dev", "catalog")
    catalog, cart = (hooked.made(name, commit) for name in ("catalog", "cart"))
    before, failing = hooked.head("dev"), written(hooked, change([catalog]))
    deploy(hooked, change([cart]))
    hooked.cluster.broken[catalog.digest] = "CrashLoopBackOff"
    with pytest.raises(PromotionFailed) as failed:
        deploy(hooked, change([cart, catalog]))
    assert failed.value.commit == failing
    assert hooked.commits("dev")[0].trailers["Restores"] == before
    assert (hooked.entry("dev", "catalog"), hooked.record("dev", "cart").source_commit) == (former, commit)


def test_what_has_run_and_crashes_later_is_not_taken_back(world: World) -> None:
    made = world.made("catalog", develop(world, {VALUES: "a: 2\n"}))
    done = deploy(world, change([made]))
    world.cluster.broken[made.digest] = "CrashLoopBackOff"
    world.cluster.complete.add(made.digest)
    with pytest.raises(PromotionFailed, match=r"dev does not run what Git records: catalog: .*CrashLoopBackOff") as failed:
        deploy(world, change([made]))
    assert (failed.value.reverted, world.head("dev")) == ("", done.commit)


def test_what_ran_since_the_beginning_or_came_back_is_not_taken_back(world: World) -> None:
    was, before = world.entry("dev", "catalog"), world.head("dev")
    made = world.made("catalog", develop(world, {VALUES: "a: 2\n"}))
    deploy(world, change([made]))
    back = Change("dev", "rollback", entries=(was,), how="rollback", restores=before, triggered_by="developer")
    deploy(world, back)
    world.cluster.broken[was.record.digest] = "CrashLoopBackOff"
    with pytest.raises(PromotionFailed, match="dev does not run what Git records") as failed:
        deploy(world, back)
    assert not failed.value.reverted
    with pytest.raises(PromotionFailed, match="qa does not run what Git records") as failed:
        deploy(world, replace(back, environment="qa", entries=(world.entry("qa", "catalog"),)))
    assert not failed.value.reverted


def test_a_git_server_that_is_away_when_it_is_to_be_taken_back_loses_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    former, made = world.entry("dev", "catalog"), world.made("catalog", develop(world, {VALUES: "a: 2\n"}))
    world.cluster.broken[made.digest] = "CrashLoopBackOff"

    def away(*_: object, **__: object) -> None:
        raise CommandFailed(["git", "push"], 128, "fatal: unable to access: Failed to connect to git.localhost port 8080")

    with monkeypatch.context() as patched:
        world.cluster.looks.append(lambda: patched.setattr(git, "push", away))
        with pytest.raises(
            PromotionFailed, match=r"(?s)What ran before is not back: .*Failed to connect.*Run the same command again"
        ):
            deploy(world, change([made]))
    with pytest.raises(PromotionFailed, match="brought back what ran before"):
        deploy(world, change([made]))
    assert world.entry("dev", "catalog") == former


def test_one_that_is_overtaken_is_neither_waited_for_nor_taken_back(world: World) -> None:
    older = develop(world, {VALUES: "a: 2\n"})
    newer = develop(world, {VALUES: "a: 3\n"})
    made = world.made("catalog", older)
    world.cluster.broken[made.digest] = "slow"
    later = change([world.made("catalog", newer, "0.2.0-dev.2")])
    world.cluster.looks += [lambda: None, lambda: None, lambda: deploy(world, later) and None]
    with pytest.raises(Overtaken, match="dev got a newer commit for catalog than"):
        deploy(world, change([made]))
    assert world.record("dev", "catalog").source_commit == newer
    assert "revert" not in {one.trailers.get("Kind") for one in world.commits("dev")}


@pytest.mark.parametrize("first", ["cart", "catalog"])
def test_of_several_services_what_is_left_when_one_is_overtaken_is_taken_back(hooked: World, first: str) -> None:
    commit, newer = develop(hooked, {VALUES: "a: 2\n"}), develop(hooked, {VALUES: "a: 3\n"})
    former, before = hooked.entry("dev", "cart"), hooked.head("dev")
    wanted = sorted((hooked.made(name, commit) for name in ("cart", "catalog")), key=lambda one: one.service != first)
    for one in wanted:
        hooked.cluster.broken[one.digest] = "slow"
    later = change([hooked.made("catalog", newer, "0.2.0-dev.2")])
    hooked.cluster.looks += [lambda: None, lambda: deploy(hooked, later) and None]
    with pytest.raises(PromotionFailed, match=r"brought back what ran before: cart 0\.1\.0\. "):
        deploy(hooked, change(wanted))
    assert (hooked.entry("dev", "cart"), hooked.record("dev", "catalog").source_commit) == (former, newer)
    assert {"Kind": "revert", "Restores": before, "Service": "cart"}.items() <= hooked.commits("dev")[0].trailers.items()


def test_what_is_left_when_one_is_overtaken_is_waited_for(world: World) -> None:
    commit, newer = develop(world, {VALUES: "a: 2\n"}), develop(world, {VALUES: "a: 3\n"})
    wanted = [world.made(name, commit) for name in ("catalog", "cart")]
    for one in wanted:
        world.cluster.broken[one.digest] = "slow"
    later = change([world.made("catalog", newer, "0.2.0-dev.2")])
    world.cluster.looks += [lambda: deploy(world, later) and None, *[lambda: None] * 8, world.cluster.broken.clear]
    with pytest.raises(Overtaken, match="dev got a newer commit for catalog than"):
        deploy(world, change(wanted))
    assert (world.cluster.looks, world.record("dev", "cart").source_commit) == ([], commit)


def test_a_later_commit_for_other_services_is_as_good(world: World) -> None:
    commit = develop(world, {VALUES: "a: 2\n"})
    made = world.made("catalog", commit)
    world.cluster.away = True
    world.cluster.list("Application")

    def back() -> None:
        world.cluster.away = False
        deploy(world, change([world.made("cart", commit)]))

    world.cluster.looks += [lambda: None, back]
    assert deploy(world, change([made])).digests == {"catalog": made.digest}


def test_what_somebody_else_has_changed_meanwhile_is_not_taken_back(world: World) -> None:
    commit = develop(world, {VALUES: "a: 2\n"})
    newer = develop(world, {VALUES: "a: 3\n"})
    wanted = [world.made(name, commit) for name in ("cart", "catalog")]
    world.cluster.broken[wanted[0].digest] = "CrashLoopBackOff"
    fixed = change([world.made("catalog", newer, "0.2.0-dev.2")])
    world.cluster.looks += [lambda: deploy(world, fixed) and None]
    with pytest.raises((PromotionFailed, Overtaken)):
        deploy(world, change(wanted))
    assert world.record("dev", "catalog").source_commit == newer


def test_a_git_server_that_is_away_delays_and_doubles_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    made = world.made("catalog", develop(world, {VALUES: "a: 2\n"}))
    push, clone = git.push, git.clone
    before = len(world.commits("dev"))
    troubles = {"clone": 2, "push": 1}

    def away(what: str) -> None:
        if troubles[what]:
            troubles[what] -= 1
            raise CommandFailed(["git", what], 128, "fatal: unable to access: Failed to connect to git.localhost port 8080")

    def cloned(*arguments: Any, **more: Any) -> None:
        away("clone")
        clone(*arguments, **more)

    def pushed(*arguments: Any, **more: Any) -> None:
        push(*arguments, **more)
        away("push")  # it landed, and the answer was lost

    monkeypatch.setattr(git, "clone", cloned)
    monkeypatch.setattr(git, "push", pushed)
    done = deploy(world, change([made]))
    assert (done.made, troubles) == (True, {"clone": 0, "push": 0})
    assert len(world.commits("dev")) == before + 1
    assert done.commit == world.head("dev")


def test_a_rollback_brings_back_what_ran_byte_for_byte(hooked: World) -> None:
    was, before = hooked.entry("dev", "catalog"), hooked.head("dev")
    deploy(hooked, change([hooked.made("catalog", develop(hooked, {VALUES: "a: 2\n"}))]))
    back = Change("dev", "rollback", entries=(was,), how="rollback", restores=before, triggered_by="developer")
    deploy(hooked, back)
    assert hooked.entry("dev", "catalog") == was
    assert hooked.commits("dev")[0].trailers["Restores"] == before


NEW = {
    f"services/payments/{kind}": "a: 1\n"
    for name in ("dev", "stage")
    for kind in (f"envs/{name}.yaml", f"helm/{name}-values.yaml")
}


def test_a_new_service_that_does_not_start_has_nothing_to_go_back_to(world: World) -> None:
    made = world.made("payments", develop(world, NEW))
    world.cluster.broken[made.digest] = "CrashLoopBackOff"
    with pytest.raises(PromotionFailed, match=r"could come back\. payments had .* stays as it is"):
        deploy(world, change([made]))
    assert world.record("dev", "payments").digest == made.digest


def test_a_new_service_is_retired_when_what_came_with_it_is_taken_back(hooked: World) -> None:
    former, commit = hooked.entry("dev", "catalog"), develop(hooked, {VALUES: "a: 2\n", **NEW})
    wanted, before = [hooked.made(name, commit) for name in ("catalog", "payments")], hooked.head("dev")
    hooked.cluster.broken[wanted[1].digest] = "CrashLoopBackOff"
    with pytest.raises(
        PromotionFailed,
        match=r"brought back what ran before: catalog 0\.1\.0\. payments had never run there, and is retired\. Correct it",
    ):
        deploy(hooked, change(wanted))
    over, newest = hooked.record("dev", "payments"), hooked.commits("dev")[0]
    assert (hooked.entry("dev", "catalog"), over.retired, over.withdrawn, over.digest) == (former, True, True, wanted[1].digest)
    assert {"Kind": "revert", "Restores": before, "Service": "catalog, payments"}.items() <= newest.trailers.items()
    hooked.cluster.broken.clear()
    assert deploy(hooked, change(wanted)).digests == {one.service: one.digest for one in wanted}


def test_stage_runs_one_release_after_one_with_a_new_service_was_taken_back(hooked: World) -> None:
    first, records = release(hooked)
    deploy(hooked, staged(first, records))
    commit = develop(hooked, {VALUES: "a: 3\n", **NEW})
    landed(hooked.site.push(f"{commit}:refs/heads/release/v0.3.0", user="developer"))
    told = {"branch": "release/v0.3.0", "release": "v0.3.0", "chart_version": "1.0.0"}
    every = [hooked.made(name, commit, "0.3.0-rc.1", **told) for name in ("cart", "catalog", "payments")]
    lock = locks.of(every, release="v0.3.0", version="0.3.0-rc.1", branch="release/v0.3.0", commit=commit)
    hooked.cluster.broken[every[2].digest] = "CrashLoopBackOff"
    with pytest.raises(PromotionFailed, match="payments had never run there, and is retired"):
        deploy(hooked, staged(lock, every))
    runs = releases.look(hooked.access).services("stage")
    assert {name: one.lock for name, one in runs.items()} == {"cart": first.hash, "catalog": first.hash}
    hooked.cluster.broken.clear()
    assert set(deploy(hooked, staged(lock, every)).changed) == {"cart", "catalog", "payments"}


def test_a_new_service_of_a_commit_without_an_end_for_it_is_named_and_stays(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = develop(world, {VALUES: "a: 2\n", **NEW})
    wanted = [world.made(name, commit) for name in ("catalog", "payments")]
    world.cluster.broken[wanted[1].digest] = "CrashLoopBackOff"
    monkeypatch.setattr(deploying, "withdrawals", lambda *_: ())
    with pytest.raises(PromotionFailed, match=r"catalog 0\.1\.0\. payments had never run there, and stays as it is\. Correct it"):
        deploy(world, change(wanted))
    assert world.record("dev", "payments").digest == wanted[1].digest


def release(world: World) -> tuple[locks.Lock, list[Record]]:
    """A release that was cut by the developer, and what it is made of."""
    commit = develop(world, {VALUES: "a: 2\n"})
    landed(world.site.push(f"{commit}:refs/heads/release/v0.2.0", user="developer"))
    told = {"branch": "release/v0.2.0", "release": "v0.2.0", "chart_version": "1.0.0"}
    records = [world.made(name, commit, "0.2.0-rc.1", **told) for name in ("cart", "catalog")]
    return locks.of(records, release="v0.2.0", version="0.2.0-rc.1", branch="release/v0.2.0", commit=commit), records


def staged(lock: locks.Lock, records: Sequence[Record]) -> Change:
    return Change(
        "stage",
        "deploy",
        lock.branch,
        tuple(records),
        release=lock.release,
        lock=lock.hash,
        files=lock.files,
        triggered_by="developer",
    )
