"""Hook, tasks and list agree: each case of the table, brought about for real, pushed through the Git server's own hook."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from slipway import git, locks, promotion
from slipway.locks import Lock
from slipway.promotion import Change, Refused, deploying
from slipway.records import Record
from tests.agreement import BRANCH, CASES, LOADED, RELEASE, Case
from tests.delivery import promoting
from tests.delivery.promoting import World
from tests.delivery.receiving import NONPROD, PROD, SERVICES, Site, digest, landed

FILES = {"services/catalog/envs/prod.yaml": "a: 2\n"}

# How a change is written that comes in a way: the commit's kind, and on whose behalf.
WRITTEN = {
    "automatic": ("deploy", "pipeline"),
    "request": ("deploy", "developer"),
    "dispatch": ("promotion", "developer"),
    "rollback": ("rollback", "developer"),
}


def change(case: Case, branch: str, records: Sequence[Record] = (), **more: object) -> Change:
    """What comes as a case says."""
    kind, user = WRITTEN[case.asked.kind]
    origin = "stage" if kind == "promotion" else ""
    begun = Change(case.environment, kind, branch, tuple(records), how=case.asked.kind, triggered_by=user, promoted_from=origin)
    return replace(begun, **more)  # type: ignore[arg-type]


def of_lock(case: Case, site: Site, lock: Lock, **changed: str) -> Change:
    """A lock's records, on their way as a case says; `changed` in the first of them."""
    first, *rest = [entry.record for entry in site.of_lock(lock, case.environment, [one.service for one in lock.services])]
    files = lock.files if case.environment == "stage" else {}
    return change(case, lock.branch, [replace(first, **changed), *rest], release=lock.release, lock=lock.hash, files=files)


def begun(world: World, *, by: str = "developer") -> Lock:
    """The lock of a release whose branch was made, and that nothing runs yet."""
    site = world.site
    site.branch("cut", site.tip("develop"))
    landed(site.push(f"{site.head}:refs/heads/{BRANCH}", user=by))
    return site.lock(RELEASE, site.head)


def past_the_hook(world: World, files: Mapping[str, bytes], *, repository: str = PROD) -> None:
    """Let a repository of records hold files that its hook would not take."""
    at = world.site.checkout(repository)
    world.site.lay(at, [], files)
    made = world.site.sign(at, "Past the hook")
    world.site.git("fetch", "--quiet", at, f"{made}:refs/heads/main", at=world.site.bare(repository))


def approved_by(world: World, lock: Lock, *users: str) -> None:
    """Let a lock be approved by these, whoever they are."""
    for user in users:
        past_the_hook(world, locks.Approval(lock.release, lock.hash, user, "now").files)


# --- what brings each case about


def of_branch(branch: str) -> Callable[[World, Case], Change]:
    """A commit of some branch, without a release."""

    def arrange(world: World, case: Case) -> Change:
        site = world.site
        if branch == "main":
            commit = site.tip("main")
        else:
            site.branch("work", site.tip("develop"))
            commit = site.commit(FILES)
            world.put(branch, commit)
        return change(case, branch, [world.made("catalog", commit)])

    return arrange


def pushed(world: World, case: Case) -> Change:
    return of_lock(case, world.site, begun(world))


def for_the_first_time(world: World, case: Case) -> Change:
    site, new = world.site, "payments"
    files = {f"services/{new}/{kind}/stage{more}.yaml": "a: 1\n" for kind, more in (("envs", ""), ("helm", "-values"))}
    site.branch("work", site.tip("develop"))
    world.put("develop", site.commit(files))
    whole = begun(world)
    one = site.entry("stage", new, whole.commit, version=whole.version, digest=digest("payments")).record
    records = [entry.record for entry in site.of_lock(whole, "stage")]
    lock = locks.of([*records, one], release=RELEASE, version=whole.version, branch=BRANCH, commit=whole.commit)
    return change(case, BRANCH, [*records, one], release=RELEASE, lock=lock.hash, files=lock.files)


def without_a_lock(world: World, case: Case) -> Change:
    records = [replace(entry.record, lock="") for entry in world.site.of_lock(begun(world), "stage")]
    return change(case, BRANCH, records, release=RELEASE)


def near_its_lock(world: World, case: Case) -> Change:
    return of_lock(case, world.site, begun(world), digest=digest("another"))


def of_another_branch(world: World, case: Case) -> Change:
    begun(world)
    elsewhere = world.site.change("feature/x", FILES)
    return of_lock(case, world.site, world.site.lock(RELEASE, elsewhere))


def older_than_stage(world: World, case: Case) -> Change:
    site, lock = world.site, world.site.cut(RELEASE)
    newer = site.lock(RELEASE, site.change(BRANCH, FILES))
    landed(site.write(PROD, site.of_lock(newer, "stage"), files=newer.files))
    return of_lock(case, site, lock)


def rolled_back_from(world: World, case: Case) -> Change:
    site, before = world.site, world.head("stage")
    former = [site.now("stage", name) for name in SERVICES]
    lock = site.cut(RELEASE)
    landed(site.write(PROD, former, kind="rollback", Restores=before))
    return of_lock(case, site, lock)


def under_a_used_version(world: World, case: Case) -> Change:
    site, first = world.site, world.site.cut(RELEASE)
    newer = site.lock(RELEASE, site.change(BRANCH, FILES))
    services = tuple(replace(one, version=first.version) for one in newer.services)
    return of_lock(case, site, replace(newer, version=first.version, services=services))


def ran_before(world: World, case: Case) -> Change:
    """What ran before a release, which has gone as far as the case's environment."""
    site, before = world.site, world.head(case.environment)
    former = tuple(site.now(case.environment, name) for name in SERVICES)
    lock = site.approved(RELEASE)
    if case.environment == "prod":
        if site.policy["load"] == "required":
            landed(site.loaded(lock))
        landed(site.promote(lock))
    return change(case, "", entries=former, restores=before)


def never_ran(world: World, case: Case) -> Change:
    commit = world.site.change("feature/x", FILES)
    made = world.site.entry(case.environment, "catalog", commit, branch="feature/x")
    return change(case, "", entries=(made,), restores=world.head(case.environment))


def approved(world: World, case: Case) -> Change:
    return of_lock(case, world.site, world.site.approved(RELEASE))


def approved_by_two(world: World, case: Case) -> Change:
    lock = world.site.approved(RELEASE)
    approved_by(world, lock, "developer")
    return of_lock(case, world.site, lock)


def not_tried(world: World, case: Case) -> Change:
    lock = world.site.cut(RELEASE)
    landed(world.site.approve(lock))
    return of_lock(case, world.site, lock)


def tried_elsewhere(world: World, case: Case) -> Change:
    wanted, site = not_tried(world, case), world.site
    tip = site.tip(BRANCH)
    made = [site.entry(name, service, tip, branch=BRANCH) for name in ("dev", "qa") for service in SERVICES]
    past_the_hook(world, {path: content for entry in made for path, content in entry.files.items()}, repository=NONPROD)
    return wanted


def tried(*approvers: str, by: str = "developer") -> Callable[[World, Case], Change]:
    """A release by somebody that stage has run, approved by these."""

    def arrange(world: World, case: Case) -> Change:
        lock = world.site.cut(RELEASE, by=by)
        world.site.tried(lock)
        approved_by(world, lock, *approvers)
        return of_lock(case, world.site, lock)

    return arrange


def of_nobody_knows_whom(world: World, case: Case) -> Change:
    wanted = approved(world, case)
    log = world.site.bare("app") / "slipway/pushes.jsonl"
    log.write_text("".join(line for line in log.read_text().splitlines(True) if BRANCH not in line))
    return wanted


def approved_and_near(world: World, case: Case) -> Change:
    return of_lock(case, world.site, world.site.approved(RELEASE), digest=digest("another"))


def older_than_prod(world: World, case: Case) -> Change:
    site, older = world.site, world.site.approved(RELEASE)
    site.branch("work", site.tip("develop"))
    world.put("develop", site.commit(FILES))
    landed(site.promote(site.approved("v0.3.0")))
    return of_lock(case, site, older)


def loaded(world: World, case: Case) -> Change:
    lock = world.site.approved(RELEASE)
    landed(world.site.loaded(lock))
    return of_lock(case, world.site, lock)


def loaded_elsewhere(world: World, case: Case) -> Change:
    lock = world.site.approved(RELEASE)
    past_the_hook(world, world.site.load(lock, environment="qa").files)
    return of_lock(case, world.site, lock)


ARRANGED: Mapping[str, Callable[[World, Case], Change]] = {
    "of a feature branch": of_branch("feature/basket"),
    "of develop": of_branch("develop"),
    "of main": of_branch("main"),
    "of a branch that nobody knows": of_branch("mine"),
    "pushed to a release branch": pushed,
    "pushed to a release branch, for the first time": for_the_first_time,
    "of a release branch, without a lock": without_a_lock,
    "of a release branch, not what its lock says": near_its_lock,
    "said to be of a release branch, and of none": of_another_branch,
    "of a release branch, older than what runs": older_than_stage,
    "of a release branch, and stage was rolled back from it": rolled_back_from,
    "of a release branch, under a version that does not go up": under_a_used_version,
    "ran there before": ran_before,
    "is said to have run there before": never_ran,
    "approved, and stage ran it": approved,
    "approved by its author and by somebody else": approved_by_two,
    "not run by stage": not_tried,
    "run by dev and qa alone": tried_elsewhere,
    "approved by nobody": tried(),
    "approved by somebody who may not": tried("pipeline"),
    "approved by its author alone": tried("lead", by="lead"),
    "approved, but of nobody knows whom": of_nobody_knows_whom,
    "approved, and not what its lock says": approved_and_near,
    "approved, and sent by nobody": approved,
    "approved, and older than what runs": older_than_prod,
    "passed a load test in stage": loaded,
    "passed no load test": approved,
    "passed a load test in qa alone": loaded_elsewhere,
    "passed no load test, and ran there before": ran_before,
}

# What only the Git server can know: whether the records of a commit are those that it names.
UNKNOWN_TO_TASKS = {"rollback"}


def rules_of(world: World, wanted: Change) -> set[str]:
    """The rules by which a change was refused; none when it landed."""
    try:
        promotion.deploy(world.access, wanted, phase=world.phase, clock=world.clock)
    except Refused as refused:
        return set(refused.rules)
    except git.PushRefused as refused:
        return set(re.findall(r"REFUSED by rule '([a-z-]+)'", str(refused)))
    return set()


def case_name(case: Case) -> str:
    return case.name


@pytest.mark.parametrize("case", [*CASES, *LOADED], ids=case_name)
def test_hook_and_tasks_say_what_the_table_says_and_only_what_has_landed_is_listed(
    case: Case, begun_instance: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = {**begun_instance.policy, "load": "required" if case in LOADED else "off"}
    world = promoting.world(replace(begun_instance, policy=data), tmp_path, monkeypatch, hooks=True)
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    world.settings = replace(world.settings, rules=tmp_path / "policy.yaml")
    wanted = ARRANGED[case.state](world, case)
    before, rules = world.head(case.environment), set(case.rules)

    if rules:
        assert rules_of(world, wanted) == rules, "as the tasks say it"
        assert world.head(case.environment) == before
        # Somebody whose tasks ask nobody: now it is the Git server's turn.
        monkeypatch.setattr(deploying, "judge", lambda *_: ())
    assert rules_of(world, wanted) == rules, "as the Git server says it"

    coming = [*wanted.records] + [entry.record for entry in wanted.entries]
    images = {f"{record.image}@{record.digest}" for record in coming}
    if rules:
        assert world.head(case.environment) == before
        runs = {f"{one.image}@{one.digest}" for one in (world.record(case.environment, name) for name in SERVICES)}
        assert world.lists[case.environment] & images <= runs, "what the Git server refused is not admitted, but what runs is"
    else:
        assert world.head(case.environment) != before
        assert world.lists[case.environment] >= images


def test_every_case_of_the_tables_is_brought_about() -> None:
    assert {case.state for case in (*CASES, *LOADED)} == set(ARRANGED)
    assert all(case.rules == ("rollback",) for case in CASES if set(case.rules) & UNKNOWN_TO_TASKS)
