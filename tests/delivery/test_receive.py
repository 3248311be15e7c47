"""What the Git server takes and refuses, by its real hooks: each rule has a push that only it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slipway import credentials, locks, receive, records
from slipway.records import Entry
from slipway.settings import load
from tests.delivery import receiving
from tests.delivery.receiving import APP, NONPROD, PROD, SCRIPTS, SERVICES, Site, digest, landed, refused

Pushed = Callable[..., Any]


@pytest.fixture
def site(begun_site: Site, tmp_path: Path) -> Site:
    return begun_site.copy(tmp_path / "site")


@pytest.fixture
def feature(site: Site) -> str:
    """A commit of a feature branch that changes what catalog is told."""
    return site.change("feature/x", {"services/catalog/envs/dev.yaml": "a: 2\n"})


@pytest.fixture
def entry(site: Site, feature: str) -> Entry:
    """What the feature branch makes of catalog in dev."""
    return site.entry("dev", "catalog", feature, branch="feature/x", version="0.2.0-x.1")


# --- what goes


def test_a_feature_branch_reaches_dev_on_request(site: Site, entry: Entry) -> None:
    landed(site.write(NONPROD, [entry]))
    assert site.now("dev", "catalog") == entry


def test_a_release_goes_the_whole_way(site: Site) -> None:
    lock = site.cut("v0.2.0")
    site.tried(lock)
    landed(site.approve(lock))
    landed(site.promote(lock))
    assert site.now("prod", "cart").record.lock == lock.hash


def test_hooks_that_are_processes_of_their_own_judge_the_same(begun_site: Site, tmp_path: Path) -> None:
    site = begun_site.copy(tmp_path / "site", processes=True)
    assert (site.folder / "hooks" / "pre-receive").read_text().split("\n", 1)[1] == SCRIPTS[0].read_text().split("\n", 1)[1]
    made = site.change("feature/x", {"services/catalog/envs/dev.yaml": "a: 2\n"})
    assert [one.after for one in receive.pushes.read(site.bare(APP))][-1] == made
    entry = site.entry("dev", "catalog", made, branch="feature/x", version="0.2.0-x.1")
    refused(site.write(NONPROD, [entry], user="developer", by="pipeline"), "push", "developer")
    landed(site.write(NONPROD, [entry]))
    assert site.now("dev", "catalog") == entry


def test_one_service_of_a_release_may_go_first(site: Site) -> None:
    lock = site.approved("v0.2.0")
    landed(site.promote(lock, ["cart"]))
    landed(site.promote(lock, ["catalog"]))


def test_an_unhealthy_promotion_is_taken_back_byte_for_byte(site: Site, entry: Entry) -> None:
    former, before = site.now("dev", "catalog"), site.tip("main", NONPROD)
    landed(site.write(NONPROD, [entry]))
    landed(site.write(NONPROD, [former], kind="revert", Restores=before))
    assert site.now("dev", "catalog") == former


def test_a_rollback_restores_what_prod_ran(site: Site) -> None:
    first, before = [site.now("prod", name) for name in SERVICES], site.tip("main", PROD)
    lock = site.approved("v0.2.0")
    landed(site.promote(lock))
    landed(site.write(PROD, first, kind="rollback", Restores=before))
    assert [site.now("prod", name) for name in SERVICES] == first


def test_every_commit_of_a_push_may_be_good(site: Site, entry: Entry) -> None:
    at = site.checkout(NONPROD)
    for environment in ("dev", "qa"):
        one = site.entry(environment, "catalog", entry.record.source_commit, branch="feature/x", version="0.2.0-x.1")
        site.lay(at, [one], {})
        site.sign(at, site.message([one], "request"))
    landed(site.git("push", site.bare(NONPROD), "HEAD:main", at=at, user="pipeline", check=False))


# --- who


@pytest.mark.parametrize("user", ["developer", "lead"])
@pytest.mark.parametrize(("repository", "environment"), [(NONPROD, "dev"), (PROD, "prod")])
def test_a_record_comes_from_the_pipeline_alone(site: Site, feature: str, user: str, repository: str, environment: str) -> None:
    one = site.entry(environment, "catalog", feature, branch="feature/x")
    refused(site.write(repository, [one], user=user), "push", user)
    refused(site.write(repository, [one], user=user, by="pipeline"), "push", user)


def test_nobody_pushes_without_a_name(site: Site, entry: Entry) -> None:
    refused(site.write(NONPROD, [entry], user="", by="pipeline"), "identity")


def test_who_may_approve_cannot_bring_a_record_along(site: Site) -> None:
    lock = site.cut("v0.2.0")
    site.tried(lock)
    approval = locks.Approval(lock.release, lock.hash, "lead", "2026-01-02T03:04:05Z")
    done = site.write(PROD, site.of_lock(lock, "prod"), files=approval.files, kind="approval", user="lead")
    refused(done, "push", "lead may not push to gitops-prod")


def test_a_commit_without_a_signature_is_refused(site: Site, entry: Entry) -> None:
    refused(site.write(NONPROD, [entry], key=None), "signature", "no signature of anybody known")


def test_a_commit_signed_with_another_roles_key_is_refused(site: Site, entry: Entry) -> None:
    refused(site.write(NONPROD, [entry], key="developer"), "signature", "signed by developer@slipway.localhost")


def test_a_commit_signed_with_a_strangers_key_is_refused(site: Site, entry: Entry, tmp_path: Path) -> None:
    stranger = credentials.keep(replace(load(), home=tmp_path / "elsewhere")).signing["pipeline"]
    credentials.write_private(tmp_path / "stranger", stranger)
    refused(site.write(NONPROD, [entry], key=str(tmp_path / "stranger")), "signature", "no signature of anybody known")


def test_a_commit_by_somebody_else_is_refused_though_the_pipeline_signed_it(site: Site, entry: Entry) -> None:
    refused(site.write(NONPROD, [entry], by="developer", key="pipeline"), "signature", "it is by developer@slipway.localhost")


def test_an_unsigned_commit_cannot_hide_below_a_signed_one(site: Site, entry: Entry) -> None:
    at = site.checkout(NONPROD)
    former = records.entries(at)["dev", "catalog"]
    site.lay(at, [entry], {})
    site.sign(at, site.message([entry], "deploy"), key=None)
    site.lay(at, [former], {})
    site.sign(at, site.message([former], "revert"))
    refused(site.git("push", site.bare(NONPROD), "HEAD:main", at=at, user="pipeline", check=False), "signature")


# --- the history


def test_a_merge_of_records_is_refused(site: Site, entry: Entry) -> None:
    at = site.checkout(NONPROD)
    site.git("checkout", "-q", "-b", "side", at=at)
    site.lay(at, [entry], {})
    site.sign(at, site.message([entry], "deploy"))
    site.git("checkout", "-q", "main", at=at)
    config = ["-c", "gpg.format=ssh", "-c", f"user.signingKey={site.keys / 'pipeline'}", "-c", "user.name=pipeline"]
    config += ["-c", "user.email=pipeline@slipway.localhost"]
    site.git(*config, "merge", "-q", "--no-ff", "-S", "-m", site.message([entry], "deploy"), "side", at=at)
    refused(site.git("push", site.bare(NONPROD), "main", at=at, user="pipeline", check=False), "linear", "it is a merge")


def test_a_merge_is_refused_as_one_whatever_it_brings(site: Site, entry: Entry) -> None:
    at = site.checkout(NONPROD)
    before = site.git("rev-parse", "HEAD", at=at).stdout.strip()
    site.lay(at, [replace(entry, values={**entry.values, "b": 7})], {})
    brought = site.sign(at, site.message([entry], "deploy"))
    merge = site.git("commit-tree", f"{brought}^{{tree}}", "-p", before, "-p", brought, "-m", "Merge", at=at).stdout.strip()
    done = site.git("push", site.bare(NONPROD), f"{merge}:refs/heads/main", at=at, user="pipeline", check=False)
    refused(done, "linear", "it is a merge")


def test_a_history_that_begins_anew_cannot_be_joined(site: Site, entry: Entry) -> None:
    at = site.checkout(NONPROD)
    site.git("checkout", "-q", "--orphan", "new", at=at)
    site.lay(at, [entry], {})
    site.sign(at, site.message([entry], "genesis"))
    done = site.git("push", "--force", site.bare(NONPROD), "HEAD:main", at=at, user="pipeline", check=False)
    refused(done, "history", "rewrite")


def test_a_second_genesis_is_refused(site: Site, entry: Entry) -> None:
    refused(site.write(NONPROD, [entry], kind="genesis"), "genesis", "the repository has content")


def test_the_first_commit_is_a_genesis_or_nothing(site: Site, entry: Entry) -> None:
    shutil.rmtree(site.bare(NONPROD))
    site.git("init", "-q", "--bare", "-b", "main", site.bare(NONPROD))
    at = site.folder / "new"
    site.git("init", "-q", "-b", "main", at)
    site.lay(at, [entry], {})
    site.sign(at, site.message([entry], "deploy"))
    refused(site.git("push", site.bare(NONPROD), "main", at=at, user="pipeline", check=False), "genesis", "it is no genesis")


def test_a_genesis_is_made_of_what_its_commit_holds(site: Site) -> None:
    shutil.rmtree(site.bare(NONPROD))
    site.git("init", "-q", "--bare", "-b", "main", site.bare(NONPROD))
    at = site.folder / "new"
    site.git("init", "-q", "-b", "main", at)
    entries = receiving.genesis(site, NONPROD, site.tip("main"))
    site.lay(at, [replace(entries[0], values={**entries[0].values, "b": 7}), *entries[1:]], {})
    site.sign(at, site.message(entries, "genesis"))
    done = site.git("push", site.bare(NONPROD), "main", at=at, user="pipeline", check=False)
    refused(done, "derived", "envs/dev/cart/values.yaml is not what follows")


@pytest.mark.parametrize("reference", ["refs/heads/side", "refs/tags/v1.0.0", "refs/notes/commits", "refs/notes/ci"])
def test_a_record_repository_has_one_branch(site: Site, reference: str) -> None:
    at = site.checkout(NONPROD)
    refused(site.git("push", site.bare(NONPROD), f"HEAD:{reference}", at=at, user="pipeline", check=False), "references")


def test_a_record_repository_is_never_emptied(site: Site) -> None:
    site.git("config", "receive.denyDeleteCurrent", "ignore", at=site.bare(PROD))
    refused(site.push(":refs/heads/main", user="pipeline", repository=PROD), "removable")


# --- what there may be


@pytest.mark.parametrize(
    "path",
    [
        "envs/prod/catalog/record.yaml",
        "envs/dev/catalog/extra.yaml",
        "README.md",
        ".gitattributes",
        "envs/dev/record.yaml",
        "releases/v0.2.0/0123456789ab/lock.yaml",
        f"approvals/{'0' * 64}/lead.yaml",
    ],
)
def test_nothing_lies_where_it_does_not_belong(site: Site, entry: Entry, path: str) -> None:
    refused(site.write(NONPROD, [entry], files={path: b"a: 1\n"}), "paths", path)


def test_a_record_outside_its_tier_is_refused(site: Site, feature: str) -> None:
    for environment, repository in (("stage", NONPROD), ("dev", PROD)):
        one = site.entry(environment, "catalog", feature, branch="feature/x")
        refused(site.write(repository, [one]), "paths", f"envs/{environment}/catalog")


def test_a_link_is_no_record(site: Site, entry: Entry) -> None:
    at = site.checkout(NONPROD)
    site.lay(at, [entry], {})
    file = at / "envs/dev/catalog/manifests.yaml"
    file.unlink()
    file.symlink_to("../../qa/catalog/manifests.yaml")
    site.sign(at, site.message([entry], "deploy"))
    refused(site.git("push", site.bare(NONPROD), "HEAD:main", at=at, user="pipeline", check=False), "paths", "plain files")


def test_a_file_that_comes_and_goes_within_one_push_is_seen(site: Site, entry: Entry) -> None:
    at = site.checkout(NONPROD)
    (at / "smuggled.txt").write_text("1")
    site.sign(at, site.message([], "deploy"))
    (at / "smuggled.txt").unlink()
    site.lay(at, [entry], {})
    site.sign(at, site.message([entry], "deploy"))
    refused(site.git("push", site.bare(NONPROD), "HEAD:main", at=at, user="pipeline", check=False), "paths", "smuggled.txt")


@pytest.mark.parametrize("names", [("record",), ("values",), ("record", "values", "manifests")])
def test_a_record_is_never_removed(site: Site, names: tuple[str, ...]) -> None:
    gone = {f"envs/prod/catalog/{name}.yaml": None for name in names}
    refused(site.write(PROD, files=gone, kind="promotion"), "removed", "envs/prod/catalog")


def test_a_record_has_its_values_and_its_manifests(site: Site, feature: str) -> None:
    new = site.entry("dev", "catalog", feature, branch="feature/x")
    for name, content in new.files.items():
        new_name = name.replace("catalog", "search")
        refused(site.write(NONPROD, files={new_name: content}, kind="deploy"), "records", "is missing")


def test_a_commit_that_changes_nothing_is_refused(site: Site) -> None:
    refused(site.write(NONPROD), "paths", "it changes nothing")


@pytest.mark.parametrize("kind", ["", "party"])
def test_a_commit_says_what_kind_it_is(site: Site, entry: Entry, kind: str) -> None:
    refused(site.write(NONPROD, [entry], kind=kind), "trailers", "Kind")


def test_a_commit_says_each_thing_once(site: Site, entry: Entry) -> None:
    done = site.write(NONPROD, [entry], Run="1\nKind: rollback")
    refused(done, "trailers", "Kind twice")


@pytest.mark.parametrize("name", ["Environment", "Service", "Version", "Source-Commit", "Branch"])
def test_a_commit_says_what_it_changes(site: Site, entry: Entry, name: str) -> None:
    told: dict[str, Any] = {name: "other"}
    refused(site.write(NONPROD, [entry], **told), "trailers", f"its trailer {name} does not say")


@pytest.mark.parametrize("name", ["Release", "Lock"])
def test_a_commit_of_a_release_says_which(site: Site, name: str) -> None:
    lock = site.approved("v0.2.0")
    told: dict[str, Any] = {name: "other"}
    refused(site.promote(lock, **told), "trailers", f"its trailer {name} does not say")


@pytest.mark.parametrize("name", ["Environment", "Service", "Version", "Source-Commit", "Branch", "Release", "Lock"])
def test_a_commit_says_nothing_more_than_what_it_changes(site: Site, name: str) -> None:
    lock = site.approved("v0.2.0")
    true = {"Environment": "prod", "Service": ", ".join(SERVICES), "Version": lock.version, "Source-Commit": lock.commit}
    said = {**true, "Branch": lock.branch, "Release": lock.release, "Lock": lock.hash}[name]
    told: dict[str, Any] = {name: f"{said}, other"}
    refused(site.promote(lock, **told), "trailers", f"its trailer {name} says other, which is not so")


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"Approved_By": ""}, "Approved-By does not say lead"),
        ({"Approved_By": "lead, developer"}, "Approved-By says developer, which is not so"),
        ({"Promoted_From": ""}, "Promoted-From says nothing"),
        ({"Promoted_From": "qa"}, "Promoted-From says qa"),
    ],
)
def test_a_promotion_says_who_approved_it_and_where_it_was_tried(site: Site, told: dict[str, Any], words: str) -> None:
    refused(site.promote(site.approved("v0.2.0"), **told), "trailers", words)


def test_what_is_no_promotion_claims_no_approval_and_no_origin(site: Site, entry: Entry) -> None:
    refused(site.write(NONPROD, [entry], Approved_By="lead"), "trailers", "Approved-By says lead")
    refused(site.write(NONPROD, [entry], Promoted_From="qa"), "trailers", "Promoted-From says qa")
    refused(site.approve(site.cut("v0.2.0"), Approved_By="lead, developer"), "trailers", "Approved-By says developer")


# --- which images, and what they are called


@pytest.mark.parametrize(
    "image", ["evil.example/catalog", "localhost:5001/cart", "localhost:5001/mine/catalog", "localhost:5001/catalogs"]
)
def test_a_service_runs_its_own_images_from_where_this_instance_keeps_them(site: Site, feature: str, image: str) -> None:
    one = site.entry("dev", "catalog", feature, branch="feature/x", image=image)
    refused(site.write(NONPROD, [one]), "image", f"the image of catalog lies in {image}", "localhost:PORT/catalog")


def test_a_lock_names_no_image_from_elsewhere(site: Site) -> None:
    lock = site.cut("v0.2.0")
    other = replace(lock, services=(replace(lock.services[0], image="evil.example/cart"), *lock.services[1:]))
    refused(site.write(PROD, files=other.files, kind="release"), "image", "the image of cart lies in evil.example/cart")


def test_within_a_branch_versions_go_up(site: Site, feature: str) -> None:
    landed(site.write(NONPROD, [site.entry("dev", "catalog", feature, branch="feature/x", version="0.2.0-x.3")]))
    newer = site.change("feature/x", {"services/catalog/envs/dev.yaml": "a: 3\n"})
    for version in ("0.2.0-x.3", "0.2.0-x.2", "0.1.0-x.9"):
        one = site.entry("dev", "catalog", newer, branch="feature/x", version=version)
        refused(site.write(NONPROD, [one]), "version", f"{version} cannot follow 0.2.0-x.3 in dev")
    landed(site.write(NONPROD, [site.entry("dev", "catalog", newer, branch="feature/x", version="0.2.0-x.10")]))


def test_what_is_no_version_is_no_record(site: Site, feature: str) -> None:
    one = site.entry("dev", "catalog", feature, branch="feature/x", version="latest")
    refused(site.write(NONPROD, [one]), "records", "'latest' is no version")


def test_a_lock_bears_versions_that_lead_to_its_release_or_that_ran_before(site: Site) -> None:
    lock = site.cut("v0.2.0")
    cart, catalog = lock.services

    def tried(*services: locks.Locked, version: str = lock.version) -> Any:
        made = replace(lock, services=services, version=version)
        return site.write(PROD, files=made.files, kind="release")

    first = replace(cart, digest=digest("first"))
    refused(tried(first, catalog, version="0.3.0-rc.1"), "version", "0.3.0-rc.1 does not lead to v0.2.0")
    refused(tried(first, catalog, version="0.2.0"), "version", "0.2.0 does not lead to v0.2.0")
    refused(tried(replace(cart, version="0.3.0-rc.1"), catalog), "version", "cart 0.3.0-rc.1 does not lead to v0.2.0")
    refused(tried(replace(cart, version="0.1.1"), catalog), "version", "and never ran here")
    refused(tried(first, catalog), "version", f"cart {cart.version} is another image already")
    landed(tried(replace(first, version="0.1.0"), catalog))


# --- what follows from what


def test_manifests_that_do_not_follow_from_the_values_are_refused(site: Site, entry: Entry) -> None:
    edited = replace(entry, manifests=[*entry.manifests, {"kind": "Secret"}])
    refused(site.write(NONPROD, [edited]), "derived", "envs/dev/catalog/manifests.yaml is not what follows")


def test_values_that_do_not_follow_from_the_commit_are_refused(site: Site, entry: Entry) -> None:
    edited = records.render(
        entry.record,
        {**entry.values, "b": 7},
        tier="nonprod",
        chart=site.folder / "sources" / entry.record.source_commit / "charts/microservice",
        helm_program=site.helm,
        kubernetes=load().versions["versions"]["kubernetes"],
    )
    refused(site.write(NONPROD, [edited]), "derived", "envs/dev/catalog/values.yaml is not what follows")


@pytest.mark.parametrize("name", ["chart_version", "config"])
def test_a_record_that_says_something_else_of_its_chart_is_refused(site: Site, entry: Entry, name: str) -> None:
    edited = replace(entry, record=replace(entry.record, **{name: "9.9.9"}))
    refused(site.write(NONPROD, [edited]), "derived", f"{name} would be")


def test_another_digest_than_the_values_have_is_refused(site: Site, entry: Entry) -> None:
    edited = replace(entry, record=replace(entry.record, digest=digest("other")))
    refused(site.write(NONPROD, [edited]), "derived", "values.yaml is not what follows")


def test_the_same_content_in_another_spelling_is_refused(site: Site, entry: Entry) -> None:
    name = "envs/dev/catalog/manifests.yaml"
    for text in (b"# harmless\n" + entry.files[name], entry.files[name].replace(b"kind: Chart", b"kind: Other\nkind: Chart")):
        refused(site.write(NONPROD, [entry], files={name: text}), "derived", name)


def test_a_commit_that_the_application_does_not_have_is_refused(site: Site, entry: Entry) -> None:
    edited = replace(entry, record=replace(entry.record, source_commit="a" * 40))
    refused(site.write(NONPROD, [edited]), "derived", "app.git has no commit aaaaaaaaa")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"- a\n", "has to say"),
        (b"a: [\n", "is no YAML"),
        (b"service: 1\n", "has to say"),
        (b"service: catalog\n", "missing"),
    ],
)
def test_what_is_no_record_is_refused(site: Site, entry: Entry, said: bytes, words: str) -> None:
    refused(site.write(NONPROD, [entry], files={"envs/dev/catalog/record.yaml": said}), "records", words)


@pytest.mark.parametrize(
    "changed",
    [
        {"environment": "qa"},
        {"service": "cart"},
        {"source_commit": "--output=/tmp/x"},
        {"chart": "../../services"},
        {"digest": "latest"},
    ],
)
def test_a_record_speaks_of_its_own_place_in_plain_words(site: Site, entry: Entry, changed: dict[str, str]) -> None:
    edited = records.dump([{**records.yaml.safe_load(entry.files["envs/dev/catalog/record.yaml"]), **changed}])
    refused(site.write(NONPROD, [entry], files={"envs/dev/catalog/record.yaml": edited}), "records", "envs/dev/catalog")


def test_a_store_stays_what_it_was(site: Site, feature: str) -> None:
    store = site.entry("dev", "valkey", feature, chart="valkey", branch="feature/x")
    refused(site.write(NONPROD, [store]), "stores", "valkey in dev is a store")
    service = site.entry("dev", "catalog", feature, chart="valkey", branch="feature/x")
    refused(site.write(NONPROD, [service]), "stores", "catalog in dev is a store")


# --- the policy, with facts that nobody's word changes


def test_a_feature_branch_cannot_reach_stage_or_prod(site: Site, feature: str) -> None:
    for environment, kind in (("stage", "deploy"), ("prod", "promotion")):
        one = site.entry(environment, "catalog", feature, branch="feature/x")
        refused(site.write(PROD, [one], kind=kind), "branches", f"feature/x cannot reach {environment}")


def test_a_feature_branch_reaches_nothing_by_itself(site: Site, entry: Entry) -> None:
    refused(site.write(NONPROD, [entry], kind="deploy"), "branches", "does not reach dev by itself")


def test_a_commit_of_another_branch_is_refused(site: Site, feature: str) -> None:
    one = site.entry("dev", "catalog", feature, branch="develop")
    refused(site.write(NONPROD, [one]), "origin", "not every artifact's commit is on develop")


def test_a_branch_that_is_not_there_is_refused(site: Site, feature: str) -> None:
    refused(site.write(NONPROD, [site.entry("dev", "catalog", feature, branch="feature/none")]), "origin")


def test_what_is_older_than_what_runs_is_refused(site: Site, feature: str) -> None:
    newer = site.change("feature/x", {"services/catalog/envs/dev.yaml": "a: 3\n"})
    landed(site.write(NONPROD, [site.entry("dev", "catalog", newer, branch="feature/x")]))
    older = site.entry("dev", "catalog", feature, branch="feature/x", version="9.9.9")
    for kind in ("deploy", "promotion"):
        refused(site.write(NONPROD, [older], kind=kind), "order", "dev runs something newer")


def test_a_rollback_needs_what_really_ran_there(site: Site, entry: Entry) -> None:
    before = site.tip("main", NONPROD)
    in_qa = site.entry("qa", "catalog", entry.record.source_commit, branch="feature/x", version="0.2.0-x.1")
    landed(site.write(NONPROD, [in_qa]))
    after = site.tip("main", NONPROD)
    allowed = "the records of a former commit of dev"
    for restores in (before, after, "", "a" * 40, "HEAD"):
        refused(site.write(NONPROD, [entry], kind="rollback", Restores=restores), "rollback", allowed)
        refused(site.write(NONPROD, [entry], kind="revert", Restores=restores), "rollback", allowed)


def test_a_rollback_brings_back_every_byte(site: Site, entry: Entry) -> None:
    former, before = site.now("dev", "catalog"), site.tip("main", NONPROD)
    landed(site.write(NONPROD, [entry]))
    edited = replace(former, manifests=[*former.manifests, {"kind": "Secret"}])
    refused(site.write(NONPROD, [edited], kind="rollback", Restores=before), "rollback")


def test_a_rollback_does_not_return_to_what_was_taken_back(site: Site, entry: Entry) -> None:
    former, before = site.now("dev", "catalog"), site.tip("main", NONPROD)
    landed(site.write(NONPROD, [entry]))
    failed = site.tip("main", NONPROD)
    landed(site.write(NONPROD, [former], kind="revert", Restores=before))
    refused(site.write(NONPROD, [entry], kind="rollback", Restores=failed), "rollback")


def test_a_revert_undoes_the_last_change_and_no_other(site: Site, feature: str) -> None:
    first, before = site.now("dev", "catalog"), site.tip("main", NONPROD)
    landed(site.write(NONPROD, [site.entry("dev", "catalog", feature, branch="feature/x")]))
    newer = site.change("feature/x", {"services/catalog/envs/dev.yaml": "a: 3\n"})
    landed(site.write(NONPROD, [site.entry("dev", "catalog", newer, branch="feature/x")]))
    refused(site.write(NONPROD, [first], kind="revert", Restores=before), "rollback")
    landed(site.write(NONPROD, [first], kind="rollback", Restores=before))


def test_somebody_who_may_not_dispatch_cannot_roll_prod_back(site: Site) -> None:
    first, before = [site.now("prod", name) for name in SERVICES], site.tip("main", PROD)
    lock = site.approved("v0.2.0")
    landed(site.promote(lock))
    done = site.write(PROD, first, kind="rollback", Restores=before, Triggered_By="argocd")
    refused(done, "dispatch", "argocd may not change what prod runs")


# --- releases


def test_prod_takes_nothing_without_a_lock(site: Site) -> None:
    lock = site.cut("v0.2.0")
    commit = lock.commit
    one = site.entry("prod", "catalog", commit, branch=lock.branch, release="v0.2.0")
    refused(site.write(PROD, [one], kind="promotion"), "lock", "this names no lock")


def test_stage_takes_a_release_by_its_lock_alone(site: Site) -> None:
    site.branch("cut", site.tip("develop"))
    tip = site.head
    landed(site.push(f"{tip}:refs/heads/release/v0.2.0", user="developer"))
    lock = site.lock("v0.2.0", tip)
    refused(site.write(PROD, site.of_lock(lock, "stage")), "lock", "are not what the lock")
    other = site.lock("v0.2.0", tip, cart=digest("other"))
    refused(site.write(PROD, site.of_lock(other, "stage"), files=lock.files), "lock", "are not what the lock")


def test_prod_takes_what_the_lock_says_and_nothing_near_it(site: Site) -> None:
    lock = site.approved("v0.2.0")
    [cart] = site.of_lock(lock, "prod", ["cart"])
    for changed in ({"digest": digest("other")}, {"version": "0.2.0"}, {"inputs": digest("other")}):
        told = {"version": cart.record.version, "digest": cart.record.digest, "inputs": cart.record.inputs, **changed}
        near = site.entry("prod", "cart", lock.commit, branch=lock.branch, release="v0.2.0", lock=lock.hash, **told)
        refused(site.write(PROD, [near], kind="promotion"), "lock", "are not what the lock")


def test_prod_takes_nothing_that_stage_has_not_run(site: Site) -> None:
    lock = site.cut("v0.2.0")
    landed(site.approve(lock))
    refused(site.promote(lock), "stage-first", "has not succeeded in stage")


def test_a_stage_result_and_a_promotion_in_one_commit_are_refused(site: Site) -> None:
    lock = site.cut("v0.2.0")
    landed(site.approve(lock))
    refused(site.promote(lock, files=site.result(lock).files), "trailers", "stage.yaml")
    refused(site.promote(lock, files=site.result(lock).files, kind="release"), "stage-first")


def test_prod_takes_nothing_that_nobody_approved(site: Site) -> None:
    lock = site.cut("v0.2.0")
    site.tried(lock)
    refused(site.promote(lock), "approval", "nobody who may has approved v0.2.0")


def test_an_approval_of_one_lock_is_none_of_another(site: Site) -> None:
    site.approved("v0.2.0")
    tip = site.change("release/v0.2.0", {"services/cart/envs/prod.yaml": "a: 9\n"})
    second = site.lock("v0.2.0", tip)
    landed(site.write(PROD, site.of_lock(second, "stage"), files=second.files))
    site.tried(second)
    refused(site.promote(second), "approval", second.hash[7:19])


def test_prod_changes_by_dispatch_alone(site: Site) -> None:
    lock = site.approved("v0.2.0")
    refused(site.promote(lock, kind="deploy"), "dispatch", "never by itself")
    refused(site.promote(lock, Triggered_By="argocd"), "dispatch", "argocd may not")


def test_prod_does_not_go_back_to_a_lower_release(site: Site) -> None:
    older = site.approved("v0.2.0")
    newer = site.approved("v0.3.0")
    landed(site.promote(newer))
    refused(site.promote(older), "order")


@pytest.mark.parametrize("user", ["developer", "pipeline", "lead"])
def test_an_approval_is_in_ones_own_name(site: Site, user: str) -> None:
    lock = site.cut("v0.2.0")
    other = "developer" if user == "lead" else "lead"
    done = site.approve(lock, by=other, user=user)
    assert done.returncode
    refused(done, "approval" if user == "pipeline" else "push", user)


def test_who_may_approve_is_said_by_the_policy(site: Site) -> None:
    lock = site.cut("v0.2.0", by="lead")
    refused(site.approve(lock, by="developer"), "push", "developer may not push to gitops-prod")
    refused(site.approve(lock, by="pipeline"), "approval", "pipeline may not approve")


def test_an_author_does_not_approve_their_own_release(site: Site) -> None:
    lock = site.cut("v0.2.0", by="lead")
    refused(site.approve(lock), "four-eyes", "lead is an author of the release")


def test_one_who_pushed_to_the_release_later_is_an_author_too(site: Site) -> None:
    site.cut("v0.2.0")
    tip = site.change("release/v0.2.0", {"services/cart/envs/prod.yaml": "a: 9\n"}, user="lead")
    lock = site.lock("v0.2.0", tip)
    landed(site.write(PROD, site.of_lock(lock, "stage"), files=lock.files))
    refused(site.approve(lock), "four-eyes", "lead is an author")


def test_a_release_whose_author_nobody_wrote_down_is_not_approved(site: Site) -> None:
    lock = site.cut("v0.2.0")
    log = site.bare("app") / "slipway/pushes.jsonl"
    log.write_text("".join(line for line in log.read_text().splitlines(True) if "release/" not in line))
    refused(site.approve(lock), "four-eyes", "nobody knows who pushed", "cut it again under another version")


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_release_of_whose_pushes_one_was_not_written_down_is_not_approved(site: Site, gone: int) -> None:
    site.cut("v0.2.0")
    site.change("release/v0.2.0", {"services/cart/envs/prod.yaml": "a: 8\n"}, user="lead")
    lock = site.lock("v0.2.0", site.change("release/v0.2.0", {"services/cart/envs/prod.yaml": "a: 9\n"}))
    landed(site.write(PROD, site.of_lock(lock, "stage"), files=lock.files))
    log = site.bare("app") / "slipway/pushes.jsonl"
    lines = log.read_text().splitlines(True)
    mine = [line for line in lines if "release/" in line]
    log.write_text("".join(line for line in lines if line != mine[gone]))
    refused(site.approve(lock), "four-eyes", "nobody knows who pushed", "cut it again under another version")


def test_an_approval_of_a_lock_that_does_not_exist_is_refused(site: Site) -> None:
    lock = site.cut("v0.2.0")
    refused(site.approve(replace(lock, release="v0.9.0")), "lock", "there is no such lock")


def test_an_approval_names_the_release_of_its_lock(site: Site) -> None:
    lock = site.cut("v0.2.0")
    approval = locks.Approval("v0.9.0", lock.hash, "lead", "now")
    refused(site.write(PROD, files=approval.files, kind="approval", user="lead"), "approval", "which release")


def test_an_approval_that_somebody_smuggled_into_the_tree_does_not_say_another_name(site: Site) -> None:
    lock = site.cut("v0.2.0")
    mine = locks.Approval(lock.release, lock.hash, "lead", "now")
    content = mine.files[mine.path].replace(b"by: lead", b"by: developer")
    refused(site.write(PROD, files={mine.path: content}, kind="approval", user="lead"), "approval", "belongs into")


@pytest.mark.parametrize("what", ["lock", "stage", "load", "approval"])
def test_what_was_written_once_is_never_rewritten(site: Site, what: str) -> None:
    lock = site.cut("v0.2.0")
    site.tried(lock)
    landed(site.loaded(lock))
    landed(site.approve(lock))
    result, load = site.result(lock), site.load(lock)
    approval = locks.Approval(lock.release, lock.hash, "lead", "later")
    path, content, kind, user = {
        "lock": (lock.path, replace(lock, version="0.2.0-rc.9").files[lock.path], "release", "pipeline"),
        "stage": (result.path, replace(result, time="later").files[result.path], "release", "pipeline"),
        "load": (load.path, replace(load, time="later").files[load.path], "load", "pipeline"),
        "approval": (approval.path, approval.files[approval.path], "approval", "pipeline"),
    }[what]
    refused(site.write(PROD, files={path: content}, kind=kind, user=user), "write-once", path)
    refused(site.write(PROD, files={path: None}, kind=kind, user=user), "removed", path)


def test_a_lock_is_of_its_releases_branch(site: Site) -> None:
    site.cut("v0.2.0")
    feature = site.change("feature/x", {"services/cart/envs/prod.yaml": "a: 9\n"})
    smuggled = site.lock("v0.2.0", feature)
    refused(site.write(PROD, files=smuggled.files, kind="release"), "origin", f"{feature[:9]} is not on release/v0.2.0")
    tip = site.tip("release/v0.2.0")
    good = site.lock("v0.2.0", tip)
    mixed = replace(good, services=(replace(good.services[0], source_commit=feature), *good.services[1:]))
    refused(site.write(PROD, files=mixed.files, kind="release"), "origin", f"comes from {feature[:9]}")
    other = replace(good, branch="feature/x")
    refused(site.write(PROD, files=replace(other, release="v0.9.0").files, kind="release"), "lock", "makes no release v0.9.0")
    renamed = replace(good, release="v0.9.0")
    refused(site.write(PROD, files=renamed.files, kind="release"), "lock", "release/v0.2.0 makes no release v0.9.0")


def test_a_lock_names_every_service(site: Site) -> None:
    lock = site.cut("v0.2.0")
    part = replace(lock, services=lock.services[:1])
    refused(site.write(PROD, files=part.files, kind="release"), "lock", "it lacks catalog")


def test_a_lock_lies_where_its_hash_says(site: Site) -> None:
    lock = site.cut("v0.2.0")
    other = replace(lock, services=(replace(lock.services[0], digest=digest("other")), *lock.services[1:]))
    done = site.write(PROD, files={"releases/v0.2.0/0123456789ab/lock.yaml": other.files[other.path]}, kind="release")
    refused(done, "lock", "belongs into")


def test_a_stage_result_says_what_stage_runs(site: Site) -> None:
    old = site.cut("v0.2.0")
    result = site.result(old)
    lock = site.cut("v0.3.0")
    for wrong, words in (
        (result, "stage does not run that lock"),
        (site.result(lock, digests={"cart": digest("other")}), "saw other images"),
        (site.result(lock, commit="a" * 40), "is no commit of gitops-prod"),
        (site.result(lock, commit=result.commit), "stage has changed since"),
        (site.result(lock, environment="prod"), "is no result of stage"),
        (site.result(replace(lock, release="v0.9.0")), "there is no lock"),
    ):
        refused(site.write(PROD, files=wrong.files, kind="release"), "stage", words)
    site.tried(lock)


def test_a_stage_result_of_a_lock_that_comes_with_it_is_refused(site: Site) -> None:
    site.branch("cut", site.tip("develop"))
    landed(site.push(f"{site.head}:refs/heads/release/v0.2.0", user="developer"))
    lock = site.lock("v0.2.0", site.head)
    files = {**lock.files, **site.result(lock).files}
    refused(site.write(PROD, site.of_lock(lock, "stage"), files=files, kind="release"), "stage", "there is no lock")


@pytest.mark.parametrize("kind", ["promotion", "rollback", "approval", "deploy", "load"])
def test_each_kind_of_commit_changes_its_own_kind_of_file(site: Site, kind: str) -> None:
    lock = site.cut("v0.2.0")
    refused(site.write(PROD, files=site.result(lock).files, kind=kind), "trailers", f"its Kind is {kind}, and it changes")


# --- a load test


def strict(begun_site: Site, folder: Path) -> Site:
    """A server whose policy requires a load test."""
    return begun_site.copy(folder, policy={**begun_site.policy, "load": "required"})


def test_prod_takes_nothing_that_passed_no_load_test_where_the_policy_requires_one(begun_site: Site, tmp_path: Path) -> None:
    site = strict(begun_site, tmp_path / "site")
    lock = site.approved("v0.2.0")
    refused(site.promote(lock), "load", "has passed no load test in stage", "./invoke load --env stage --release 0.2.0")
    landed(site.loaded(lock))
    landed(site.promote(lock))


def test_a_load_test_of_one_lock_is_none_of_another(begun_site: Site, tmp_path: Path) -> None:
    site = strict(begun_site, tmp_path / "site")
    first = site.cut("v0.2.0")
    site.tried(first)
    landed(site.loaded(first))
    tip = site.change("release/v0.2.0", {"services/cart/envs/prod.yaml": "a: 9\n"})
    second = site.lock("v0.2.0", tip)
    landed(site.write(PROD, site.of_lock(second, "stage"), files=second.files))
    site.tried(second)
    landed(site.approve(second))
    refused(site.promote(second), "load", second.hash[7:19])


def test_a_load_test_and_a_promotion_in_one_commit_are_refused(begun_site: Site, tmp_path: Path) -> None:
    site = strict(begun_site, tmp_path / "site")
    lock = site.approved("v0.2.0")
    for kind in ("promotion", "release", "load"):
        refused(site.promote(lock, files=site.load(lock).files, kind=kind), "trailers", "it changes")


def test_what_prod_ran_comes_back_without_a_load_test(begun_site: Site, tmp_path: Path) -> None:
    site = strict(begun_site, tmp_path / "site")
    first, before = [site.now("prod", name) for name in SERVICES], site.tip("main", PROD)
    lock = site.cut("v0.2.0")
    site.tried(lock)
    landed(site.loaded(lock))
    landed(site.approve(lock))
    landed(site.promote(lock))
    landed(site.write(PROD, first, kind="rollback", Restores=before))


@pytest.mark.parametrize("user", ["developer", "lead"])
def test_the_pipeline_alone_says_that_a_load_test_was_passed(site: Site, user: str) -> None:
    lock = site.cut("v0.2.0")
    site.tried(lock)
    refused(site.loaded(lock, user=user), "push", user)
    refused(site.loaded(lock, key=None), "signature")


def test_a_load_test_says_what_stage_runs(site: Site) -> None:
    old = site.cut("v0.2.0")
    site.tried(old)
    former = site.load(old)
    lock = site.cut("v0.3.0")
    refused(site.write(PROD, files=site.load(lock).files, kind="load"), "load", "stage has not come to run the lock")
    site.tried(lock)
    for wrong, words in (
        (former, "stage does not run that lock"),
        (site.load(lock, digests={"cart": digest("other")}), "saw other images"),
        (site.load(lock, commit="a" * 40), "is no commit of gitops-prod"),
        (site.load(lock, commit=former.commit), "stage has changed since"),
        (site.load(lock, environment="prod"), "is no result of stage"),
        (site.load(lock, environment="qa"), "is no result of stage"),
        (site.load(replace(lock, release="v0.9.0")), "there is no lock"),
        (site.load(lock, run=""), "run has to say something"),
    ):
        refused(site.write(PROD, files=wrong.files, kind="load"), "load", words)
    load = site.load(lock)
    failed = load.files[load.path].replace(b"outcome: pass", b"outcome: fail")
    refused(site.write(PROD, files={load.path: failed}, kind="load"), "load", "was not passed")
    refused(site.write(PROD, files={load.path: load.files[load.path] + b"\n"}, kind="load"), "load", "is no result of stage")
    landed(site.loaded(lock))


def test_a_load_test_lies_beside_no_environment_but_those_of_the_last_tier(site: Site) -> None:
    lock = site.cut("v0.2.0")
    refused(site.write(NONPROD, files=site.load(lock, environment="dev").files, kind="load"), "paths")


# --- a guard that cannot judge


@pytest.mark.parametrize("broken", ["rules.json", "slipway.zip", "signers"])
def test_a_guard_that_cannot_judge_refuses(site: Site, entry: Entry, broken: str) -> None:
    (site.folder / "hooks" / broken).write_text("{")
    done = site.write(NONPROD, [entry])
    assert done.returncode != 0
    assert "REFUSED" in done.stderr
    assert site.now("dev", "catalog") != entry


def test_without_helm_no_record_is_taken(site: Site, entry: Entry) -> None:
    rules = site.folder / "hooks" / "rules.json"
    rules.write_text(json.dumps({**json.loads(rules.read_text()), "helm": "/nowhere/helm"}))
    refused(site.write(NONPROD, [entry]), "derived", "cannot be made of commit")
