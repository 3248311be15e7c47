"""A push to a GitOps repository: every commit of it is judged against its parent, by what both hold and never by what it says.

What a commit says of itself in its trailers must be so; what allows it is read from the repositories.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from slipway import locks, policy
from slipway.policy import Refusal
from slipway.receive import deploys, documents
from slipway.receive.bare import ZERO
from slipway.receive.scene import Ledger, Scene, some

# What each kind of commit may touch.
KINDS: Mapping[str, tuple[str, ...]] = {
    "genesis": ("record",),
    "deploy": ("record", "lock"),
    "request": ("record", "lock"),
    "promotion": ("record",),
    "release": ("record", "lock", "stage"),
    "load": ("load",),
    "approval": ("approval",),
    "rollback": ("record",),
    "revert": ("record",),
}


def judge(ledger: Ledger, update: tuple[str, str, str], *, user: str, options: Mapping[str, str]) -> Sequence[Refusal]:
    """Every rule that forbids a push: old commit, new commit, reference."""
    old, new, reference = update
    known = new != ZERO and reference == policy.RECORDS and (old == ZERO or ledger.here.contains(new, old))
    # Of a push that rewrites history nothing else needs to be looked at.
    scenes = [Scene(ledger, commit, user, first=old == ZERO) for commit in (ledger.here.added(old, new) if known else ())]
    asked = policy.Push(
        ledger.name,
        user,
        reference,
        "" if old == ZERO else old,
        "" if new == ZERO else new,
        fast_forward=known,
        options=options,
        approval=bool(scenes) and all(scene.approves for scene in scenes),
    )
    refusals: Sequence[Refusal] = policy.judge_push(ledger.policy, asked)
    # The form of the whole comes first: it is known before any content is read.
    for rules in ((_form,), (_signature, _paths, _kind, documents.judge, deploys.judge)):
        for scene in scenes:
            refusals = refusals or _judge(scene, rules)
    return refusals


def _judge(scene: Scene, rules: Sequence[Callable[[Scene], Iterable[Refusal]]]) -> Sequence[Refusal]:
    # The later rules are asked only of a commit that the earlier ones take.
    for rule in rules:
        if refusals := list(rule(scene)):
            short = scene.commit[:9]
            return [Refusal(each.rule, f"commit {short}: {each.wrong}", each.allowed) for each in dict.fromkeys(refusals)]
    return ()


def _form(scene: Scene) -> Iterable[Refusal]:
    if len(scene.told.parents) > 1:
        yield Refusal("linear", "it is a merge", "one commit after the other")
    if not scene.told.parents and not scene.first:
        yield Refusal("linear", "it begins another history", "one commit after the other")


def _signature(scene: Scene) -> Iterable[Refusal]:
    mine = scene.ledger.address(scene.user)
    good = scene.told.signature == "G"
    if not good or scene.told.signer != mine:
        how = f"it is signed by {scene.told.signer}" if good else "it bears no signature of anybody known"
        yield Refusal("signature", how, f"a commit signed with the key of {scene.user}, who pushes it")
    if {scene.told.author, scene.told.committer} != {mine}:
        wrong = f"it is by {scene.told.author}, committed by {scene.told.committer}"
        yield Refusal("signature", wrong, f"a commit by {scene.user} <{mine}>, who pushes it")


def _paths(scene: Scene) -> Iterable[Refusal]:
    allowed = f"plain files envs/({'|'.join(scene.ledger.environments)})/SERVICE/(record|values|manifests).yaml"
    if scene.ledger.keeps_releases:
        allowed += f", {locks.RELEASES}/RELEASE/LOCK/(lock|stage|load).yaml and {locks.APPROVALS}/LOCK/USER.yaml"
    if strangers := [one.path for one in scene.changed if not scene.place(one.path) or not one.ordinary]:
        yield Refusal("paths", f"{some(strangers)} cannot be in {scene.ledger.name}", allowed)
    if not scene.changed:
        yield Refusal("paths", "it changes nothing", allowed)
    if gone := [one.path for one in scene.changed if one.kind == "D"]:
        yield Refusal("removed", f"it removes {some(gone)}", "other content in its place; nothing here is ever removed")
    if rewritten := [one.path for one in scene.changed if one.kind not in "AD" and scene.place(one.path) != "record"]:
        wrong = f"it rewrites {some(rewritten)}"
        yield Refusal("write-once", wrong, "another lock beside it: what a lock, its results or approvals say never changes")


def _kind(scene: Scene) -> Iterable[Refusal]:
    names = [name for name, _ in scene.told.trailers]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        yield Refusal("trailers", f"it says {some(twice)} twice", "each trailer once")
    if scene.kind not in KINDS:
        yield Refusal("trailers", f"its Kind is {scene.kind or 'missing'}", f"Kind: {', '.join(KINDS)}")
        return
    if (scene.kind == "genesis") != (not scene.parent):
        wrong = "it is no genesis" if not scene.parent else "it is a genesis, and the repository has content"
        yield Refusal("genesis", wrong, "Kind: genesis for the first commit of an empty repository, and for no other")
    if others := [one.path for one in scene.changed if scene.place(one.path) not in KINDS[scene.kind]]:
        allowed = f"a commit of its own; {scene.kind} changes {' and '.join(KINDS[scene.kind])}"
        yield Refusal("trailers", f"its Kind is {scene.kind}, and it changes {some(others)}", allowed)
    role = scene.ledger.policy.roles.get(scene.user)
    writes = role is not None and scene.ledger.name in role.push
    if not writes and (scene.kind != "approval" or not scene.approves):
        wrong = f"{scene.user} may not push it to {scene.ledger.name}"
        yield Refusal("push", wrong, "an approval by whoever may approve, and nothing else")
