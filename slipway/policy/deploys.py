"""What an environment may run: each rule looks at the facts of a change on its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from slipway.policy.facts import Deploy, Refusal
from slipway.policy.model import Gate, Policy, line, number
from slipway.policy.wording import all_lines, either, gets, reaches

# Which kinds of deployment a reach takes: whoever may go by itself may also be sent.
_TAKES: Mapping[str, tuple[str, ...]] = {
    "automatic": ("automatic", "request", "dispatch"),
    "request": ("request", "dispatch"),
    "dispatch": ("dispatch",),
    "refused": (),
}
_BACK = ("rollback", "revert")


def judge_deploy(policy: Policy, asked: Deploy) -> tuple[Refusal, ...]:
    """Every rule that forbids this change of what an environment runs; none when it may happen."""
    if asked.environment not in policy.environments:
        known = ", ".join(policy.environments)
        return (Refusal("environment", f"there is no environment {asked.environment!r}", f"one of {known}"),)
    forward = (_branches, _wish, _held, _origin, _order, _version, _lock, _stage_first, _load, _approval, _four_eyes)
    rules = (_goes_back,) if asked.kind in _BACK else forward
    return tuple(refusal for rule in (*rules, _dispatch) if (refusal := rule(policy, asked)))


def _branches(policy: Policy, asked: Deploy) -> Refusal | None:
    found, environment = line(policy, asked.branch), asked.environment
    if found is None:
        return Refusal("branches", f"{asked.branch!r} is no branch that the policy knows", all_lines(policy))
    reach = found.reach.get(environment, "refused")
    if reach == "refused":
        takers = f"{environment} gets {gets(policy, environment) or 'no branch at all'}"
        return Refusal("branches", f"{asked.branch} cannot reach {environment}", f"{reaches(found)}; {takers}")
    # Where only a dispatch leads, the rule of that name says so.
    if reach != "dispatch" and asked.kind not in _TAKES[reach]:
        wrong = f"{asked.branch} does not reach {environment} by itself"
        return Refusal("branches", wrong, f"{reaches(found)}: ./invoke push {asked.branch} --to {environment}")
    return None


def _origin(_: Policy, asked: Deploy) -> Refusal | None:
    if asked.on_branch:
        return None
    return Refusal(
        "origin", f"not every artifact's commit is on {asked.branch}", f"artifacts of commits that {asked.branch} contains"
    )


def _order(policy: Policy, asked: Deploy) -> Refusal | None:
    back = f"what is newer; ./invoke rollback --env {asked.environment} goes back"
    if asked.order not in ("newer", "same", "unrelated", "new"):
        return Refusal("order", f"{asked.environment} runs something newer than this already", back)
    # Lines that ran side by side are not in each other's history: between releases the number decides.
    new, running = number(asked.release), number(asked.running)
    if asked.environment in policy.approvals and new and running and new < running:
        return Refusal("order", f"{asked.environment} runs {asked.running} already, which is newer than {asked.release}", back)
    return None


def _wish(policy: Policy, asked: Deploy) -> Refusal | None:
    if asked.kind != "request" or asked.wished:
        return None
    wrong = f"nobody who may is known to have asked for {asked.branch} in {asked.environment}"
    return Refusal(
        "wish", wrong, f"./invoke push {asked.branch} --to {asked.environment}, or git push -o deploy={asked.environment}"
    )


def _held(policy: Policy, asked: Deploy) -> Refusal | None:
    if asked.kind != "automatic" or not asked.held:
        return None
    wrong = f"{asked.environment} was rolled back from this {asked.release or asked.branch}, and stays so until somebody promotes"
    again = f"./invoke push {asked.branch} --to {asked.environment}"
    if asked.lock and asked.environment in {gate.after for gate in policy.approvals.values()}:
        again = f"./invoke promote {asked.environment} --release {asked.release}"
    return Refusal("held", wrong, f"other content, by a newer push to {asked.branch}; or this when somebody asks for it: {again}")


def _version(_: Policy, asked: Deploy) -> Refusal | None:
    if asked.grows:
        return None
    wrong = f"{asked.version or 'no version'} cannot follow {asked.former or 'what runs'} in {asked.environment}"
    return Refusal(
        "version", wrong, f"a higher version of the same branch for other content: push another commit to {asked.branch}"
    )


def _locks(policy: Policy, asked: Deploy) -> bool:
    """Whether what comes must be a lock's: where approval is needed, and on the way there."""
    found = line(policy, asked.branch)
    on_the_way = asked.environment in {gate.after for gate in policy.approvals.values()}
    return asked.environment in policy.approvals or (on_the_way and found is not None and found.releases)


def _lock(policy: Policy, asked: Deploy) -> Refusal | None:
    found = line(policy, asked.branch)
    named = found.release(asked.branch) if found else ""
    wrong = ""
    if not asked.lock and _locks(policy, asked):
        wrong = f"{asked.environment} takes only what a release's lock says, and this names no lock"
    elif asked.lock and not asked.locked:
        wrong = f"the records are not what the lock {_short(asked.lock)} says"
    elif asked.lock and not number(asked.release):
        wrong = f"the lock {_short(asked.lock)} is of no release: {asked.release!r} is no vX.Y.Z"
    elif asked.lock and named and named != asked.release:
        wrong = f"the lock {_short(asked.lock)} is of {asked.release}, not of {asked.branch}"
    return Refusal("lock", wrong, "exactly the artifacts of a lock that a push to the release's branch made") if wrong else None


def _stage_first(policy: Policy, asked: Deploy) -> Refusal | None:
    gate = policy.approvals.get(asked.environment)
    if gate is None or gate.after in asked.passed:
        return None
    wrong = f"{_named(asked)} has not succeeded in {gate.after}"
    return Refusal("stage-first", wrong, f"a lock that {gate.after} has run whole and healthy, unchanged")


def _load(policy: Policy, asked: Deploy) -> Refusal | None:
    gate = policy.approvals.get(asked.environment)
    if policy.load == "off" or gate is None or gate.after in asked.loaded:
        return None
    wrong = f"{_named(asked)} has passed no load test in {gate.after}, and the policy requires one (load: required)"
    how = f"./invoke load --env {gate.after} --release {asked.release.removeprefix('v') or 'X.Y.Z'}"
    return Refusal("load", wrong, f"a lock that withstood a load test in {gate.after}, unchanged ({how})")


def _approved(gate: Gate, asked: Deploy) -> tuple[str, ...]:
    """Those who approved and may."""
    return tuple(user for user in asked.approvers if user in gate.approvers)


def _approval(policy: Policy, asked: Deploy) -> Refusal | None:
    gate = policy.approvals.get(asked.environment)
    if gate is None or _approved(gate, asked):
        return None
    wrong = f"nobody who may has approved {_named(asked)} for {gate.environment}"
    return Refusal("approval", wrong, _how_to_approve(gate, asked.release))


def _four_eyes(policy: Policy, asked: Deploy) -> Refusal | None:
    gate = policy.approvals.get(asked.environment)
    if gate is None or not (approved := _approved(gate, asked)):
        return None
    if not asked.authors:
        return Refusal("four-eyes", f"nobody knows who pushed {asked.branch}", "a release whose authors the push log names")
    if set(approved) <= set(asked.authors):
        wrong = f"only its authors approved {_named(asked)} ({', '.join(approved)})"
        return Refusal("four-eyes", wrong, _how_to_approve(gate, asked.release))
    return None


def _dispatch(policy: Policy, asked: Deploy) -> Refusal | None:
    gate = policy.approvals.get(asked.environment)
    if gate is None or asked.kind == "revert":  # a revert is the end of a dispatch that went wrong
        return None
    if asked.kind not in ("dispatch", "rollback"):
        wrong = f"{gate.environment} changes by dispatch only, never by itself"
        return Refusal("dispatch", wrong, f"./invoke promote --to {gate.environment}, by {either(gate.dispatchers)}")
    if asked.user not in gate.dispatchers:
        wrong = f"{asked.user or 'nobody'} may not change what {gate.environment} runs"
        return Refusal("dispatch", wrong, f"{asked.kind} by {either(gate.dispatchers)}")
    return None


def _goes_back(_: Policy, asked: Deploy) -> Refusal | None:
    if asked.restores:
        return None
    wrong = f"what this {asked.kind} brings back is not exactly what {asked.environment} ran before"
    return Refusal("rollback", wrong, f"the records of a former commit of {asked.environment}, all of them, unchanged")


def judge_approval(
    policy: Policy, user: str, authors: Sequence[str], lock_exists: bool, *, environment: str = ""
) -> tuple[Refusal, ...]:
    """Every rule that forbids this approval of a lock.

    Args:
        policy: The policy.
        user: Who approves.
        authors: Everybody who pushed to the release's branch.
        lock_exists: Whether there is such a lock.
        environment: The environment it is for; "" for whichever needs approval.
    """
    gates = [gate for gate in policy.approvals.values() if environment in ("", gate.environment)]
    approvers = tuple(dict.fromkeys(name for gate in gates for name in gate.approvers))
    allowed = f"{either(approvers) or 'nobody'}, who must not have pushed to the release's branch"
    found: list[Refusal] = []
    if not lock_exists:
        found.append(Refusal("lock", "there is no such lock to approve", "a lock that a push to a release's branch made"))
    if user not in approvers:
        found.append(Refusal("approval", f"{user or 'nobody'} may not approve", allowed))
    if user in authors:
        found.append(Refusal("four-eyes", f"{user} is an author of the release", allowed))
    elif not authors and lock_exists:
        wrong = "nobody knows who pushed the release"
        found.append(Refusal("four-eyes", wrong, "a release whose authors the push log names"))
    return tuple(found)


def _short(lock: str) -> str:
    return lock.removeprefix("sha256:")[:12]


def _named(asked: Deploy) -> str:
    return f"{asked.release or 'what comes'}{f' (lock {_short(asked.lock)})' if asked.lock else ''}"


def _how_to_approve(gate: Gate, release: str) -> str:
    return f"{either(gate.approvers)} approves this lock without being an author (./invoke approve {release or 'RELEASE'})"
