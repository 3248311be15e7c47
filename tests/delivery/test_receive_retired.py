"""The end of a service: the Git server takes it where its folder is gone, and by no other way than the service came."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from slipway import git, locks, records
from slipway.locks import Lock
from slipway.records import Entry
from tests.delivery.receiving import NONPROD, PROD, Site, digest, landed, refused


@pytest.fixture
def site(begun_site: Site, tmp_path: Path) -> Site:
    return begun_site.copy(tmp_path / "site")


def gone(site: Site, branch: str, service: str = "catalog") -> str:
    """A commit of a branch that has no folder of a service any more."""
    start = site.tip(branch) or site.tip("develop")
    return site.change(branch, dict.fromkeys(git.tree(site.bare("app"), start, f"services/{service}")))


def develop(site: Site, commit: str) -> None:
    """Let develop have a commit, past its rules."""
    git.push(site.tree, git.Remote(str(site.bare("app"))), {"refs/heads/develop": commit})


def end(site: Site, environment: str, commit: str, *, service: str = "catalog", **more: str) -> Entry:
    """What ends a service, as the pipeline makes it."""
    had = site.now(environment, service).record
    told = {"version": had.version, "image": had.image, "digest": had.digest, "inputs": "", **more}
    return site.entry(environment, service, commit, chart=records.RETIRED, **told)


def lock_of(site: Site, commit: str, release: str = "v0.2.0") -> Lock:
    """The lock of a commit that has cart alone."""
    version = f"{release[1:]}-rc.{git.count(site.tree, commit)}"
    cart = site.entry("stage", "cart", commit, version=version)
    return locks.of([cart.record], release=release, version=version, branch=f"release/{release}", commit=commit)


def ended(site: Site, lock: Lock, environment: str, **more: str) -> list[Entry]:
    """All that an environment records of such a lock."""
    told = {"branch": lock.branch, "release": lock.release, "lock": lock.hash, **more}
    return [*site.of_lock(lock, environment), end(site, environment, lock.commit, **told)]


def test_a_service_whose_folder_is_gone_from_develop_is_retired_from_dev_by_itself(site: Site) -> None:
    develop(site, commit := gone(site, "feature/x"))
    one = end(site, "dev", commit)
    landed(site.write(NONPROD, [one]))
    assert site.now("dev", "catalog") == one
    assert not site.now("qa", "catalog").record.retired


def test_a_feature_branch_retires_a_service_on_request(site: Site) -> None:
    one = end(site, "dev", gone(site, "feature/x"), branch="feature/x")
    refused(site.write(NONPROD, [one], kind="deploy"), "branches", "does not reach dev by itself")
    landed(site.write(NONPROD, [one]))


def test_a_service_whose_folder_is_there_is_not_retired(site: Site) -> None:
    commit = site.change("feature/x", {"services/cart/envs/dev.yaml": "a: 2\n"})
    one = end(site, "dev", commit, branch="feature/x")
    refused(site.write(NONPROD, [one]), "retired", f"commit {commit[:9]} has services/catalog")


def test_a_branch_that_never_had_what_runs_does_not_retire_it(site: Site) -> None:
    commit = gone(site, "feature/x")
    other = site.change("feature/y", {"services/catalog/envs/dev.yaml": "a: 2\n"})
    landed(site.write(NONPROD, [site.entry("dev", "catalog", other, branch="feature/y")]))
    one = end(site, "dev", commit, branch="feature/x")
    refused(site.write(NONPROD, [one]), "retired", f"catalog in dev comes from {other[:9]}, which {commit[:9]} does not have")


def test_what_never_ran_is_not_retired(site: Site) -> None:
    commit = site.change("feature/x", {"services/cart/envs/dev.yaml": "a: 2\n"})
    one = site.entry("dev", "reviews", commit, chart=records.RETIRED, branch="feature/x")
    refused(site.write(NONPROD, [one]), "retired", "reviews in dev has never run")


@pytest.mark.parametrize("told", [{"version": "0.2.0-x.9"}, {"image": "elsewhere/catalog"}, {"digest": digest("another")}])
def test_an_end_says_what_ran(site: Site, told: dict[str, str]) -> None:
    one = end(site, "dev", gone(site, "feature/x"), branch="feature/x", **told)
    refused(site.write(NONPROD, [one]), "retired", "catalog in dev ran 0.1.0")


def test_a_store_is_not_retired(site: Site) -> None:
    one = end(site, "dev", gone(site, "feature/x"), service="valkey", branch="feature/x")
    refused(site.write(NONPROD, [one]), "stores", "valkey in dev is a store")


def test_an_end_has_the_manifests_that_follow_from_its_commit(site: Site) -> None:
    one = end(site, "dev", gone(site, "feature/x"), branch="feature/x")
    edited = {"envs/dev/catalog/manifests.yaml": b"kind: Other\n"}
    refused(site.write(NONPROD, [one], files=edited), "derived", "envs/dev/catalog/manifests.yaml")


def test_a_service_comes_back_by_a_later_commit_and_by_no_earlier_one(site: Site) -> None:
    early = site.change("feature/x", {"services/catalog/envs/dev.yaml": "a: 2\n"})
    landed(site.write(NONPROD, [end(site, "dev", gone(site, "feature/x"), branch="feature/x")]))
    refused(site.write(NONPROD, [site.entry("dev", "catalog", early, branch="feature/x")]), "order", "something newer")
    files = {f"services/catalog/{part}": "a: 3\n" for part in ("envs/dev.yaml", "helm/dev-values.yaml")}
    later = site.entry("dev", "catalog", site.change("feature/x", files), branch="feature/x")
    landed(site.write(NONPROD, [later]))
    assert site.now("dev", "catalog") == later


@pytest.mark.parametrize("kind", ["rollback", "revert"])
def test_what_was_retired_comes_back_as_it_was(site: Site, kind: str) -> None:
    former, before = site.now("dev", "catalog"), site.tip("main", NONPROD)
    landed(site.write(NONPROD, [end(site, "dev", gone(site, "feature/x"), branch="feature/x")]))
    landed(site.write(NONPROD, [former], kind=kind, Restores=before))
    assert site.now("dev", "catalog") == former


def test_a_rollback_ends_again_what_had_come_back(site: Site) -> None:
    landed(site.write(NONPROD, [over := end(site, "dev", gone(site, "feature/x"), branch="feature/x")]))
    before = site.tip("main", NONPROD)
    files = {f"services/catalog/{part}": "a: 3\n" for part in ("envs/dev.yaml", "helm/dev-values.yaml")}
    landed(site.write(NONPROD, [site.entry("dev", "catalog", site.change("feature/x", files), branch="feature/x")]))
    landed(site.write(NONPROD, [over], kind="rollback", Restores=before))
    assert site.now("dev", "catalog") == over


def test_stage_and_prod_lose_no_service_but_by_a_release(site: Site) -> None:
    site.cut("v0.2.0")
    told = {"branch": "release/v0.2.0", "release": "v0.2.0"}
    one = end(site, "stage", gone(site, "release/v0.2.0"), **told)
    refused(site.write(PROD, [one]), "lock", "takes only what a release's lock says")
    develop(site, commit := gone(site, "feature/x"))
    refused(site.write(PROD, [end(site, "stage", commit)]), "branches", "develop cannot reach stage")
    refused(site.write(PROD, [end(site, "prod", commit)], kind="promotion", Promoted_From="stage"), "branches")


def test_a_release_without_a_service_ends_it_in_stage_and_with_approval_in_prod(site: Site) -> None:
    site.cut("v0.2.0")
    lock = lock_of(site, gone(site, "release/v0.2.0"))
    landed(site.write(PROD, ended(site, lock, "stage"), files=lock.files))
    site.tried(lock)
    refused(
        site.write(PROD, ended(site, lock, "prod"), kind="promotion", Promoted_From="stage"),
        "approval",
        "nobody who may has approved v0.2.0",
    )
    landed(site.approve(lock))
    landed(site.write(PROD, ended(site, lock, "prod"), kind="promotion", Promoted_From="stage", Approved_By="lead"))
    assert [site.now(name, "catalog").record.retired for name in ("stage", "prod")] == [True, True]
    assert site.now("prod", "cart").record.lock == lock.hash


def test_a_release_ends_nothing_that_its_lock_has_or_that_another_commit_ends(site: Site) -> None:
    former = site.cut("v0.2.0")
    commit = gone(site, "release/v0.2.0")
    told = {"branch": former.branch, "release": former.release, "lock": former.hash}
    refused(site.write(PROD, [end(site, "stage", commit, **told)]), "lock", "are not what the lock")
    lock = lock_of(site, commit)
    later = site.change("release/v0.2.0", {"services/cart/envs/dev.yaml": "a: 2\n"})
    over = end(site, "stage", later, branch=lock.branch, release=lock.release, lock=lock.hash)
    refused(site.write(PROD, [*site.of_lock(lock, "stage"), over], files=lock.files), "lock", "are not what the lock")


def test_a_lock_lacks_no_service_that_its_commit_has_or_never_had(site: Site) -> None:
    lock = site.cut("v0.2.0")
    part = replace(lock, services=lock.services[:1])
    refused(site.write(PROD, files=part.files, kind="release"), "lock", "it lacks catalog")
    landed(site.push(f"{site.tip('develop')}:refs/heads/release/v0.3.0", user="developer"))
    commit = gone(site, "release/v0.3.0")
    more = site.change("release/v0.2.0", {"services/catalog/envs/stage.yaml": "a: 2\n"})
    newer = site.lock("v0.2.0", more)
    landed(site.write(PROD, site.of_lock(newer, "stage"), files=newer.files))
    refused(site.write(PROD, files=lock_of(site, commit, "v0.3.0").files, kind="release"), "lock", "it lacks catalog")
