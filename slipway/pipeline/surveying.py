"""What a commit changes, beside what every environment runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath

from slipway import artifacts, git, gitops, policy, promotion, records, testing, versions
from slipway.errors import unknown
from slipway.gitops import Record, Source
from slipway.pipeline.work import Needless, Work, listed
from slipway.promotion import Refused


def begin(work: Work) -> tuple[str, ...]:
    """The environments that the run is about, in the order of promotion; when it goes to none, the first that it could reach."""
    access, rules = work.access, work.access.settings.policy
    mirror = gitops.patiently(access.app, access.fetch)
    head = git.resolve(mirror, f"refs/heads/{work.branch}")
    if head is None or not git.contains(mirror, head, work.commit):
        raise Needless(f"{work.branch} is gone, or does not have {work.commit[:9]} any more.")
    work.line = policy.line(rules, work.branch)
    if work.requested and work.requested not in access.environments:
        raise unknown("environment", work.requested, access.environments)
    reach = work.line.reach if work.line else {}
    if work.requested and reach.get(work.requested) not in ("automatic", "request"):
        asked = policy.Deploy(work.requested, work.branch, "request", work.triggered_by, on_branch=True, order="new")
        refusals = policy.judge_deploy(rules, asked)
        raise Refused([one for one in refusals if one.rule == "branches"] or refusals)
    work.targets = tuple(name for name in access.environments if work.comes(name))
    near = [name for name in access.environments if reach.get(name, "refused") != "refused"]
    return work.targets or tuple(near[:1])


def survey(work: Work, source: Source, targets: Sequence[str], services: Sequence[str]) -> None:
    """Find out what the commit has of each service, for every environment that the run is about.

    Raises:
        UsageError: A service that was asked for is not in the commit.
    """
    access = work.access
    names = artifacts.services(source)
    if strangers := sorted(set(services) - set(names)):
        raise unknown("service", strangers[0], names)
    base, build_base = access.plan.image("python"), access.plan.image("python-build")
    wanted = [name for name in names if not services or name in services or work.staged]
    work.keys = {name: artifacts.inputs(source, name, base=base, build_base=build_base) for name in wanted}
    _read(work)
    contains = partial(git.contains, access.mirror)
    for environment in targets:
        there = work.running[environment]
        staged = environment == work.staged
        # A release is made of its own history alone; elsewhere, what is made of the same runs on.
        known = {name: one for name, one in there.items() if not staged or contains(work.commit, one.source_commit)}
        tier = access.settings.environment(environment).tier
        near = [name for name in access.environments if access.settings.environment(name).tier == tier and name != environment]
        others = [
            one
            for name in near
            for one in work.running[name].values()
            if contains(work.commit, one.source_commit) and not _older(work, one, environment)
        ]
        work.surveyed[environment] = {one.service: one for one in artifacts.survey(work.keys, known, others)}
        if work.comes(environment) and not services:
            every = (*there.values(), *work.former[environment].values())
            work.ended[environment] = promotion.retirements(access.mirror, work.commit, work.branch, every)
    ends = {one.service for one in work.ended.get(targets[0], ())}
    work.removed = tuple(name for name in artifacts.removed(source, work.running[targets[0]].values()) if name not in ends)
    work.version = _version(work)


def _older(work: Work, one: Record, environment: str) -> bool:
    """Whether an artifact would take an environment back, where it is not the branch's turn."""
    had, rules = (work.running[environment] | work.former[environment]).get(one.service), work.access.settings.policy
    asked = environment == work.requested
    home = had is not None and policy.comes_home(rules, environment, work.branch, had.branch, asked=asked)
    contains = partial(git.contains, work.access.mirror)
    return records.order(_meant(work, one, environment), had, contains, last=False, home=home) == "older"


def _meant(work: Work, record: Record, environment: str) -> Record:
    """An artifact as this run would bring it to an environment."""
    release = work.line.release(work.branch) if work.line and environment == work.staged else ""
    return replace(record, environment=environment, branch=work.branch, release=release, lock="")


def record(work: Work, environment: str, service: str) -> Record:
    """What an environment is to run of a service: what was built, or what was there already."""
    seen = work.surveyed[environment][service]
    taken = work.built[service] if seen.changed or seen.record is None else seen.record
    if not seen.changed and taken.key != (environment, service):
        work.taken.add(service)
    return _meant(work, taken, environment)


def moves(work: Work, environment: str, service: str) -> bool:
    """Whether an environment does not run a service as the commit has it, or got it from this very commit before."""
    there = work.running[environment].get(service)
    return there is None or there.inputs != work.keys[service] or there.source_commit == work.commit


def _read(work: Work) -> None:
    """What every environment runs of the services."""
    access = work.access
    repositories = {name: access.settings.environment(name).repository for name in access.environments}
    for repository in dict.fromkeys(repositories.values()):
        _, entries = gitops.read(access.remote(repository))
        for name in (name for name, its in repositories.items() if its == repository):
            there = {service: entry.record for (environment, service), entry in entries.items() if environment == name}
            work.running[name] = {service: one for service, one in there.items() if one.chart == records.CHART}
            work.former[name] = {service: one for service, one in there.items() if one.retired}


def differs(work: Work, service: str) -> bool:
    """Whether anything of an unchanged service differs from what was checked for the artifact that is there.

    That is its own tests and papers, and all that lies beside the services: the tests of what they share, what their tests
    need, and how they are run; and what the style goes by.
    """
    there = {one.record.source_commit for seen in work.surveyed.values() if (one := seen[service]).record}
    now = _seen(work, work.commit, service)
    return any(_seen(work, commit, service) != now for commit in there)


def _seen(work: Work, commit: str, service: str) -> Mapping[str, str]:
    """What the checks of a service see of a commit, path by path: all but the other services."""
    found = git.contents(work.access.mirror, commit, "services", testing.STYLE)
    programs = (PurePosixPath(path) for path in found if PurePosixPath(path).match("services/*/main.py"))
    others = tuple(f"{path.parent}/" for path in programs if path.parent.name != service)
    return {path: content for path, content in found.items() if not path.startswith(others)}


def _version(work: Work) -> str:
    mirror = work.access.mirror
    tags = git.local_refs(mirror, "refs/tags")
    # The first release, which an instance begins with, never moves. From main, or from the last release, counting would begin
    # anew whenever one is finished, and a branch under way would get the versions again that it had.
    first = versions.oldest(tags)
    label = work.line.label if work.line else ""
    count = git.count(mirror, work.commit, without=f"refs/tags/v{first}" if first else "")
    return versions.version(label, work.branch, tags, count)


def said(work: Work, changed: Sequence[str]) -> str:
    """What was found out, in a line."""
    unchanged = [name for name in work.keys if name not in changed]
    ended = sorted({one.service for its in work.ended.values() for one in its})
    parts = [
        listed(changed) or "nothing",
        f"unchanged: {listed(unchanged)}" if unchanged else "",
        f"gone: {listed(ended)}" if ended else "",
        f"not in this commit, and left alone: {listed(work.removed)}" if work.removed else "",
    ]
    return "; ".join(part for part in parts if part)
