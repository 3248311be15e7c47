"""What the Git server's hooks know of an environment's past: what it was rolled back from, and how it may go back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slipway import wishes
from slipway.records import RETIRED, Entry
from tests.delivery.receiving import NONPROD, PROD, SERVICES, Done, Site, digest, landed, refused

VALUES = "services/catalog/envs/dev.yaml"


@pytest.fixture
def site(begun_site: Site, tmp_path: Path) -> Site:
    return begun_site.copy(tmp_path / "site")


def develop(site: Site, text: str) -> str:
    """A commit of develop, past every rule."""
    site.branch("work", site.tip("develop"))
    made = site.commit({VALUES: f"a: {text}\n"})
    site.git("fetch", "--quiet", str(site.tree), made, at=site.bare("app"))
    site.git("update-ref", "refs/heads/develop", made, at=site.bare("app"))
    return made


def came(site: Site, text: str, **more: str) -> Entry:
    """What dev got of a new commit of develop, by itself."""
    made = site.entry("dev", "catalog", develop(site, text), **more)
    landed(site.write(NONPROD, [made]))
    return made


def back(site: Site, to: Entry, restores: str, *, kind: str = "rollback", repository: str = NONPROD) -> Done:
    return site.write(repository, [to], kind=kind, Restores=restores)


def tip(site: Site) -> str:
    return site.tip("main", NONPROD)


# --- what was rolled back stays so


def test_what_was_rolled_back_is_refused_when_it_comes_by_itself(site: Site) -> None:
    first = came(site, "2")
    at = tip(site)
    second = came(site, "3")
    landed(back(site, first, at))
    refused(site.write(NONPROD, [second]), "held", "dev was rolled back from this develop", "./invoke push develop --to dev")
    landed(site.write(NONPROD, [second], kind="request"))
    third = came(site, "4")
    landed(
        site.write(
            NONPROD, [second], kind="rollback", Restores=site.git("rev-parse", "main~1", at=site.bare(NONPROD)).stdout.strip()
        )
    )
    refused(site.write(NONPROD, [third]), "held")
    landed(site.write(NONPROD, [third], kind="promotion", Promoted_From="qa"))


def test_two_rollbacks_in_a_row_hold_both_that_they_left(site: Site) -> None:
    first = came(site, "2")
    one = tip(site)
    second = came(site, "3")
    two = tip(site)
    third = came(site, "4")
    landed(back(site, second, two))
    landed(back(site, first, one))
    for entry in (second, third):
        refused(site.write(NONPROD, [entry]), "held")
    came(site, "5")


def test_what_a_later_rollback_brought_back_is_held_no_more(site: Site) -> None:
    first = came(site, "2")
    one = tip(site)
    second = came(site, "3", inputs="sha256:two")
    two = tip(site)
    landed(back(site, first, one))
    landed(back(site, second, two))
    came(site, "4", inputs="sha256:two")


def test_a_newer_one_that_was_taken_back_leaves_the_hold_as_it_was(site: Site) -> None:
    first = came(site, "2")
    one = tip(site)
    second = came(site, "3")
    landed(back(site, first, one))
    before = tip(site)
    came(site, "4")
    landed(back(site, first, before, kind="revert"))
    refused(site.write(NONPROD, [second]), "held")


def test_a_rollback_that_was_taken_back_itself_holds_nothing(site: Site) -> None:
    first = came(site, "2")
    one = tip(site)
    second = came(site, "3")
    before = tip(site)
    landed(back(site, first, one))
    landed(back(site, second, before, kind="revert"))
    came(site, "4")


def test_the_same_content_of_a_newer_commit_is_held_and_other_content_is_not(site: Site) -> None:
    first = came(site, "2", inputs="sha256:one")
    one = tip(site)
    came(site, "3", inputs="sha256:two")
    landed(back(site, first, one))
    newer = develop(site, "3.1")
    refused(site.write(NONPROD, [site.entry("dev", "catalog", newer, inputs="sha256:two")]), "held")
    landed(site.write(NONPROD, [site.entry("dev", "catalog", newer, inputs="sha256:three")]))


def test_once_something_newer_has_come_to_stay_nothing_is_held(site: Site) -> None:
    first = came(site, "2")
    one = tip(site)
    came(site, "3", inputs="sha256:two")
    landed(back(site, first, one))
    came(site, "4")
    came(site, "5", inputs="sha256:two")


def test_a_release_that_stage_was_rolled_back_from_does_not_come_again_by_itself(site: Site) -> None:
    former, at = [site.now("stage", name) for name in SERVICES], site.tip("main", PROD)
    lock = site.cut("v0.2.0")
    landed(site.write(PROD, former, kind="rollback", Restores=at))
    refused(site.write(PROD, site.of_lock(lock, "stage")), "held", "stage was rolled back from this v0.2.0")
    # Papers alone make another commit of the same content.
    site.change("release/v0.2.0", {"README.md": "more\n"})
    refused(site.write(PROD, site.of_lock(lock, "stage")), "held", "./invoke promote stage --release v0.2.0")
    landed(site.write(PROD, site.of_lock(lock, "stage"), kind="promotion"))


# --- who asked


def wanted(site: Site) -> Entry:
    commit = site.change("feature/x", {VALUES: "a: 2\n"})
    return site.entry("dev", "catalog", commit, branch="feature/x")


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("signed by nobody", {"Wish": ""}),
        ("no wish at all", {"Wish": "please"}),
        ("another's name", {"Triggered_By": "lead"}),
        ("the pipeline's own", {"Triggered_By": "pipeline"}),
    ],
)
def test_a_request_that_nobody_made_is_refused(site: Site, how: str, told: dict[str, Any]) -> None:
    entry = wanted(site)
    signed: dict[str, Any] = {"Wish": site.wish(entry.record, by="pipeline" if "pipeline" in how else "developer"), **told}
    refused(site.write(NONPROD, [entry], **signed), "wish", "nobody who may is known to have asked for feature/x in dev")


def test_a_wish_is_for_one_environment_one_branch_and_what_its_commit_contains(site: Site) -> None:
    entry = wanted(site)
    qa = site.entry("qa", "catalog", entry.record.source_commit, branch="feature/x")
    refused(site.write(NONPROD, [entry], Wish=site.wish(qa.record)), "wish")
    newer = site.change("feature/x", {VALUES: "a: 3\n"})
    later = site.entry("dev", "catalog", newer, branch="feature/x")
    refused(site.write(NONPROD, [later], Wish=site.wish(entry.record)), "wish")
    landed(site.write(NONPROD, [entry], Wish=site.wish(later.record)))


def test_a_push_that_asks_for_an_environment_is_proof_enough(site: Site) -> None:
    site.branch("feature/x", site.tip("develop"))
    commit = site.commit({VALUES: "a: 2\n"})
    landed(site.push("HEAD:refs/heads/feature/x", user="developer", options=["deploy=dev"]))
    for environment, service, rule in (("qa", "catalog", "wish"), ("dev", "catalog", "")):
        entry = site.entry(environment, service, commit, branch="feature/x")
        done = site.write(NONPROD, [entry], Wish="")
        refused(done, rule) if rule else landed(done)
    by_lead = site.entry("dev", "cart", commit, branch="feature/x")
    refused(site.write(NONPROD, [by_lead], Wish="", Triggered_By="lead"), "wish")


def test_a_wish_from_before_a_rollback_brings_nothing_back(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    entry, former, at = wanted(site), site.now("dev", "catalog"), tip(site)
    then = time.time() - 3600
    with monkeypatch.context() as earlier:
        earlier.setattr(wishes, "time", SimpleNamespace(time=lambda: then))
        wish = site.wish(entry.record)
    landed(site.write(NONPROD, [entry], Wish=wish))
    landed(back(site, former, at))
    refused(site.write(NONPROD, [entry], Wish=wish), "wish")
    landed(site.write(NONPROD, [entry]))


# --- the ways back


def promoted(site: Site) -> tuple[Sequence[Entry], str]:
    """What prod ran, and where, right before it got a release."""
    lock = site.approved("v0.2.0")
    first, before = [site.now("prod", name) for name in SERVICES], site.tip("main", PROD)
    landed(site.promote(lock))
    return first, before


def test_a_part_of_an_environment_is_not_rolled_back(site: Site) -> None:
    first, before = promoted(site)
    refused(site.write(PROD, first[:1], kind="rollback", Restores=before), "rollback", "all of them, unchanged")
    landed(site.write(PROD, first, kind="rollback", Restores=before))


def test_a_rollback_leaves_alone_what_is_as_it_was(site: Site) -> None:
    first, before = [site.now("prod", name) for name in SERVICES], site.tip("main", PROD)
    landed(site.promote(site.approved("v0.2.0"), ["cart"]))
    landed(site.write(PROD, first[:1], kind="rollback", Restores=before))


def test_a_revert_cannot_be_reverted(site: Site) -> None:
    first, before = promoted(site)
    second, after = [site.now("prod", name) for name in SERVICES], site.tip("main", PROD)
    landed(site.write(PROD, first, kind="revert", Restores=before))
    refused(site.write(PROD, second, kind="revert", Restores=after), "rollback")
    refused(site.write(PROD, second, kind="revert", Restores=site.tip("main", PROD)), "rollback")


def test_a_revert_restores_what_was_there_right_before_what_it_undoes(site: Site) -> None:
    first = came(site, "2")
    one = tip(site)
    landed(site.write(NONPROD, [site.entry("qa", "catalog", first.record.source_commit)]))
    between = tip(site)
    came(site, "3")
    refused(back(site, first, one, kind="revert"), "rollback")
    landed(back(site, first, between, kind="revert"))


def test_a_rollback_is_taken_back_right_after_it_or_not_at_all(site: Site) -> None:
    first, before = promoted(site)
    second, after = [site.now("prod", name) for name in SERVICES], site.tip("main", PROD)
    landed(site.write(PROD, first, kind="rollback", Restores=before))
    bare = site.bare(PROD)
    at = site.git("rev-parse", "main", at=bare).stdout.strip()
    landed(site.write(PROD, second, kind="revert", Restores=after))
    site.git("update-ref", "refs/heads/main", at, at=bare)
    lock = site.approved("v0.3.0")
    landed(site.promote(lock, ["cart"]))
    refused(site.write(PROD, second[1:], kind="revert", Restores=after), "rollback")


# --- the end of what was new


def brought(site: Site) -> tuple[Entry, Entry, str]:
    """What dev ran of catalog and got of a new service by one commit, and the commit before."""
    files = {f"services/payments/{part}": "a: 1\n" for part in ("envs/dev.yaml", "helm/dev-values.yaml")}
    commit = site.change("feature/x", {VALUES: "a: 2\n", **files})
    former, before = site.now("dev", "catalog"), tip(site)
    both = [site.entry("dev", service, commit, branch="feature/x") for service in ("catalog", "payments")]
    landed(site.write(NONPROD, both))
    return former, both[1], before


def ended(site: Site, new: Entry, **more: str) -> Entry:
    """What ends a new service that is taken back, as the pipeline makes it."""
    was = new.record
    told = {"version": was.version, "digest": was.digest, "inputs": was.inputs, "branch": was.branch, "chart": RETIRED, **more}
    return site.entry("dev", was.service, was.source_commit, **told)


def test_a_revert_ends_what_was_new_and_brings_back_the_rest(site: Site) -> None:
    former, new, before = brought(site)
    landed(site.write(NONPROD, [former, over := ended(site, new)], kind="revert", Restores=before))
    assert (site.now("dev", "catalog"), site.now("dev", "payments")) == (former, over)
    landed(site.write(NONPROD, [new]))


@pytest.mark.parametrize("told", [{"version": "0.2.0-x.9"}, {"digest": digest("another")}, {"inputs": ""}, {"lock": "sha256:1"}])
def test_a_revert_ends_what_was_new_and_nothing_else(site: Site, told: dict[str, str]) -> None:
    _, new, before = brought(site)
    refused(site.write(NONPROD, [ended(site, new, **told)], kind="revert", Restores=before), "rollback")


def test_a_revert_ends_nothing_that_ran_before_and_nothing_by_other_manifests(site: Site) -> None:
    former, new, before = brought(site)
    refused(site.write(NONPROD, [ended(site, site.now("dev", "catalog"))], kind="revert", Restores=before), "rollback")
    edited = {"envs/dev/payments/manifests.yaml": b"kind: Other\n"}
    refused(site.write(NONPROD, [former, ended(site, new)], files=edited, kind="revert", Restores=before), "rollback")
    refused(site.write(NONPROD, [former, ended(site, new)], kind="rollback", Restores=before), "rollback")
    landed(site.write(NONPROD, [former, ended(site, new)], kind="revert", Restores=before))
    refused(site.write(NONPROD, [new], kind="revert", Restores=before), "rollback")
