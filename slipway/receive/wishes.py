"""Whether somebody asked for what comes on request: the push log says so, or their own signature does."""

from __future__ import annotations

from datetime import UTC, datetime

from slipway import policy, wishes
from slipway.receive.scene import Scene
from slipway.records import Record


def known(scene: Scene, record: Record, *, since: float) -> bool:
    """Whether whoever a commit is said to be made for asked for a record in its environment.

    Args:
        scene: The commit.
        record: One of its records.
        since: When the environment was rolled back from it; what was asked for before that counts no more.
    """
    user, rules = scene.trailers.get("Triggered-By", ""), scene.ledger.policy
    return policy.asks(rules, user) and (_pushed(scene, record, user, since) or _signed(scene, record, user, since))


def _pushed(scene: Scene, record: Record, user: str, since: float) -> bool:
    app = scene.ledger.kitchen.app
    return any(
        (one.user, one.reference) == (user, f"refs/heads/{record.branch}")
        and one.options.get(policy.DEPLOY) == record.environment
        and _seconds(one.time) >= since
        and app.contains(one.after, record.source_commit)
        for one in scene.ledger.log()
    )


def _signed(scene: Scene, record: Record, user: str, since: float) -> bool:
    wish = wishes.read(scene.trailers.get("Wish", ""))
    return (
        wish is not None
        and wish.time >= int(since)
        and scene.ledger.kitchen.app.contains(wish.commit, record.source_commit)
        and wishes.signed(
            wish, record.environment, record.branch, signers=scene.ledger.here.signers, by=scene.ledger.address(user)
        )
    )


def _seconds(when: str) -> float:
    moment = datetime.fromisoformat(when)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
