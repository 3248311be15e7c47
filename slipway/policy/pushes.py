"""What a repository takes from whom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from slipway.policy.facts import Push, Refusal
from slipway.policy.model import APP, PUSH_OPTIONS, RECORDS, RESULTS, SKIP, Line, Policy, line, number
from slipway.policy.wording import all_lines, either, reaches

_HEADS, _TAGS = "refs/heads/", "refs/tags/"
_CONDITION_TEXT = {"passed": "whose commit passed the pipeline", "released": "at the commit that runs in prod"}
_COMMAND = {"passed": "./invoke merge BRANCH", "released": "./invoke release.finish X.Y.Z"}


def judge_push(policy: Policy, push: Push) -> tuple[Refusal, ...]:
    """Every rule that forbids this push of one reference; none when it may land."""
    if not push.old and not push.new:
        return (Refusal("references", f"{push.reference} is neither there nor brought", "a reference that changes"),)
    if push.repository != APP:
        return _judge_records(policy, push)
    if push.reference == RESULTS:
        return _judge_results(policy, push)
    if push.reference.startswith(_TAGS):
        return _judge_tag(policy, push)
    return _judge_branch(policy, push)


def _judge_records(policy: Policy, push: Push) -> tuple[Refusal, ...]:
    role = policy.roles.get(push.user)
    writers = [name for name, other in policy.roles.items() if push.repository in other.push]
    repositories = {environment.repository for environment in policy.environments.values()}
    # An approval lies beside the records of the environment that it is for.
    approves = push.approval and any(
        push.user in gate.approvers and policy.environments[gate.environment].repository == push.repository
        for gate in policy.approvals.values()
    )
    found: list[Refusal] = []
    if push.repository not in repositories or push.reference != RECORDS:
        allowed = f"{RECORDS} of {either(sorted(repositories))}"
        found.append(Refusal("references", f"{push.repository} takes no {push.reference}", allowed))
    if not (role and push.repository in role.push) and not approves:
        wrong = f"{push.user or 'nobody'} may not push to {push.repository}"
        found.append(Refusal("push", wrong, f"{either(writers) or 'nobody'}; an approval by whoever may approve"))
    return (*found, *_history(push), *_request(policy, push))


def _judge_results(policy: Policy, push: Push) -> tuple[Refusal, ...]:
    found: list[Refusal] = []
    if not _may(policy, push.user, policy.results):
        wrong = f"{push.user or 'nobody'} may not say how a run ended"
        found.append(Refusal("push", wrong, f"{either(policy.results)} writes {RESULTS}"))
    return (*found, *_history(push), *_request(policy, push))


def _judge_tag(policy: Policy, push: Push) -> tuple[Refusal, ...]:
    name = push.reference.removeprefix(_TAGS)
    found: list[Refusal] = []
    if not number(name):
        found.append(Refusal("references", f"{name} is no release's tag", "tags vX.Y.Z"))
    if not _may(policy, push.user, policy.tags):
        wrong = f"{push.user or 'nobody'} may not push the tag {name}"
        found.append(
            Refusal("tags", wrong, f"{either(policy.tags)} tags a release when it is finished (./invoke release.finish X.Y.Z)")
        )
    if push.old:
        what = "moved" if push.new else "removed"
        found.append(Refusal("tags", f"the tag {name} is there and is never {what}", "a new release with a higher version"))
    return (*found, *_request(policy, push))


def _judge_branch(policy: Policy, push: Push) -> tuple[Refusal, ...]:
    branch = push.reference.removeprefix(_HEADS)
    found = line(policy, branch) if push.reference.startswith(_HEADS) else None
    if found is None:
        wrong = f"{push.reference!r} is no reference that the policy knows"
        return (Refusal("references", wrong, f"{all_lines(policy)}; tags vX.Y.Z"),)
    if not push.new:
        return (*_removal(policy, push, found, branch), *_request(policy, push))
    if not push.old:
        return (*_creation(policy, push, found, branch), *_request(policy, push, found, branch))
    return (*_history(push), *_landing(policy, push, found, branch), *_request(policy, push, found, branch))


def _may(policy: Policy, user: str, allowed: Sequence[str]) -> bool:
    """Whether the user is a role that may push to the application's repository at all, and this."""
    role = policy.roles.get(user)
    return role is not None and APP in role.push and user in allowed


def _history(push: Push) -> tuple[Refusal, ...]:
    if not push.new:
        return (Refusal("removable", f"{push.reference} is never removed", "a push on top of what is there"),)
    if push.old and not push.fast_forward:
        wrong = f"this push of {push.reference} would rewrite what is there"
        return (Refusal("history", wrong, "commits and merges on top of what is there; never a forced push, by nobody"),)
    return ()


def _removal(policy: Policy, push: Push, found: Line, branch: str) -> tuple[Refusal, ...]:
    if found.removable and _may(policy, push.user, found.push):
        return ()
    removable = "; ".join(f"{other.name} by {either(other.push)}" for other in policy.lines if other.removable and other.push)
    return (Refusal("removable", f"{push.user or 'nobody'} may not remove {branch}", removable or "nothing is removed"),)


def _creation(policy: Policy, push: Push, found: Line, branch: str) -> tuple[Refusal, ...]:
    refusals: list[Refusal] = []
    if not _may(policy, push.user, found.create):
        wrong = f"{push.user or 'nobody'} may not make the branch {branch}"
        refusals.append(Refusal("push", wrong, f"{found.name} is made by {either(found.create) or 'nobody'}"))
    if release := found.release(branch):
        refusals.extend(_cut(push, found, release))
    return tuple(refusals)


def _cut(push: Push, found: Line, release: str) -> Iterable[Refusal]:
    """What forbids to cut this release from this commit.

    A release with Z = 0 is new: higher than all there are. One with Z > 0 is a hotfix of a release that runs where
    approval is needed: higher within its own X.Y only, since the next release may be under way already.
    """
    wanted = number(release)
    taken = {known: name for name in (*push.tags, *push.releases) if (known := number(name))}
    if wanted is None:
        yield Refusal("release-name", f"{release} cannot be cut: it is no version", "a version vX.Y.Z")
        return
    if wanted in taken:
        yield Refusal("release-name", f"{release} cannot be cut: it exists", f"a version above {taken[max(taken)]}")
        return
    if not wanted[2]:
        if taken and wanted < (highest := max(taken)):
            wrong = f"{release} is lower than {taken[highest]}, which exists"
            yield Refusal("release-name", wrong, f"a version vX.Y.0 above {taken[highest]}")
        if found.cut_from not in push.based_on:
            wrong = f"{release} is not cut from {found.cut_from}: its commit is not there"
            yield Refusal(
                "release-name", wrong, f"a commit of {found.cut_from} (./invoke release.cut {release[1:]}); push to it afterwards"
            )
        return
    family = [known for known in taken if known[:2] == wanted[:2]]
    if family and wanted < max(family):
        wrong = f"{release} is lower than {taken[max(family)]}, which exists"
        yield Refusal("release-name", wrong, f"a version above {taken[max(family)]}")
    runs = [name for each in push.prod if (known := number(name := each.release)) and known[:2] == wanted[:2] and known < wanted]
    if not any(name in push.based_on and name in push.tags for name in runs):
        wrong = f"{release} is not cut from the tag of a release v{wanted[0]}.{wanted[1]}.* that runs in prod"
        here = either([each.release for each in push.prod]) or "nothing yet"
        yield Refusal(
            "release-name", wrong, f"a hotfix begins exactly at the tag of what runs in prod ({here}); push to it afterwards"
        )


def _landing(policy: Policy, push: Push, found: Line, branch: str) -> tuple[Refusal, ...]:
    """What forbids to move a branch that is there."""
    if _may(policy, push.user, found.push):
        return ()
    if not _may(policy, push.user, found.merge):
        pushes, merges = either(found.push) or "nobody pushes directly", either(found.merge) or "nobody"
        return (Refusal("push", f"{push.user or 'nobody'} may not push to {branch}", f"{pushes}; merges by {merges}"),)
    allowed = f"one clean merge of {either(found.takes)} {_CONDITION_TEXT[found.condition]} ({_COMMAND[found.condition]})"
    wrong = ""
    lines = {other.name for name in push.merge_of if (other := line(policy, name))}
    if not push.merged:
        wrong = f"{branch} takes one merge at a time, and no commits"
    elif not push.merge_clean:
        wrong = f"the merge into {branch} holds more than git makes of the two by itself"
    elif not lines & set(found.takes):
        wrong = f"{branch} does not take merges of {either(push.merge_of) or 'a commit that is on no branch'}"
    elif found.condition == "passed" and not push.merge_passed:
        wrong = f"{push.merged[:9]} has not passed the pipeline"
    elif found.condition == "released" and not _runs_in_prod(policy, push):
        wrong = f"{push.merged[:9]} is not what a release that runs in prod was made of"
    return (Refusal("merge", wrong, allowed),) if wrong else ()


def _runs_in_prod(policy: Policy, push: Push) -> bool:
    """Whether the merged commit is what a release in prod was made of, on the branch of that release."""
    named = {found.release(name) for name in push.merge_of if (found := line(policy, name))}
    return any(each.release in named and each.commit == push.merged for each in push.prod)


def _request(policy: Policy, push: Push, found: Line | None = None, branch: str = "") -> tuple[Refusal, ...]:
    """What forbids the options of a push; a misspelt one is refused, not passed over."""
    refusals: list[Refusal] = []
    for option, wanted in push.options.items():
        if option not in PUSH_OPTIONS:
            refusals.append(Refusal("request", f"there is no push option {option!r}", "-o deploy=ENVIRONMENT, or -o ci.skip"))
        elif option == SKIP:
            continue
        elif found is None:
            refusals.append(Refusal("request", f"{push.reference} is deployed nowhere", "-o deploy with a push to a branch"))
        elif found.reach.get(wanted, "refused") not in ("automatic", "request"):
            refusals.append(Refusal("branches", f"{branch} cannot reach {wanted or 'no environment'} on request", reaches(found)))
    return tuple(refusals)
