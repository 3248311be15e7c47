"""Changes to drive through an environment while a load test is on, of which no customer may notice anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from slipway import gitops, promoting, rollback
from slipway.access import Access
from slipway.errors import UsageError, unknown
from slipway.kube import NOT_YET, Kube, Object, rollout
from slipway.load.model import KEEP_ALIVE, NEW_CONNECTION, SLOW
from slipway.load.thresholds import Threshold
from slipway.progress import Progress
from slipway.waiting import Failed, Pending, Ready, wait_for

ROLLOUT, PROMOTION, ROLLBACK = "rollout", "promotion", "rollback"
KINDS = (ROLLOUT, PROMOTION, ROLLBACK)

# The profile of such a test, unless another one is asked for: an even load, by every kind of connection.
PROFILE = "steady"

# Kept connections meet a pod that goes in the middle of one, new ones are sent to it last, and slow requests are under way.
STREAMS = {KEEP_ALIVE: 0.4, NEW_CONNECTION: 0.4, SLOW: 0.2}

# Seconds until the pods of a service are replaced.
ROLL_TIMEOUT = 180.0

# What a pod's template is marked with, so that it is another one: Kubernetes replaces its pods, and Argo CD, whose record says
# nothing of it, lets it be.
_MARK = "slipway.dev/replaced"

# What no change may cost. Times and processor time may go up while new pods start.
_ERRORS, _DELIVERED, _RESTARTS = "errors", "delivered", "restarts"


@dataclass(frozen=True)
class Work:
    """A change, not begun yet: calling it makes it, and tells which image of each service must run then.

    Attributes:
        kind: Which one.
    """

    kind: str
    drive: Callable[[], Mapping[str, str]]

    def __call__(self) -> Mapping[str, str]:
        """Make the change."""
        return self.drive()


def work(access: Access, admin: Kube, environment: str, kind: str, *, release: str, user: str, progress: Progress) -> Work:
    """The change of that kind.

    Args:
        access: The instance, as the pipeline.
        admin: The cluster, as its administrator, who may replace pods.
        environment: The environment under test.
        kind: rollout replaces every pod by one of the same image; promotion brings what the environment before runs, or a
            release; rollback brings back what ran before.
        release: What to promote, or to go back to; by default what `promote` and `rollback` take by themselves.
        user: On whose behalf it is promoted or rolled back.
        progress: Shows how it goes.

    Raises:
        UsageError: There is no such change, or nobody said which release is to come.
    """
    if kind == ROLLOUT:
        return Work(kind, partial(_roll, access, admin, environment, progress))
    if kind == PROMOTION:
        if not release and environment in {gate.after for gate in access.settings.policy.approvals.values()}:
            raise UsageError(f"{environment} runs the newest release by itself: say with --release which other one is to come.")
        asked = promoting.Asked(environment, release=release, user=user)
        return Work(
            kind, partial(_moved, access, environment, partial(promoting.promote, access.settings, asked, progress=progress))
        )
    if kind == ROLLBACK:
        back = partial(rollback.rollback, access.settings, environment, to=release, user=user, progress=progress)
        return Work(kind, partial(_moved, access, environment, back))
    raise unknown("change to make during a load test", kind, KINDS)


def strict(limits: tuple[Threshold, ...]) -> tuple[Threshold, ...]:
    """The limits of such a test: nobody's request may fail, and everybody gets what they came for."""
    whole = (Threshold("", "", _ERRORS, 0.0), Threshold("", "", _DELIVERED, 1.0))
    services = sorted({limit.service for limit in limits if limit.service})
    return (
        *whole,
        *(Threshold(service, "", _ERRORS, 0.0) for service in services),
        *(limit for limit in limits if limit.measure == _RESTARTS),
    )


def _roll(access: Access, admin: Kube, environment: str, progress: Progress) -> Mapping[str, str]:
    """Replace the pods of every service, one service after the other."""
    for service in access.settings.services:
        with progress.phase(f"replace {service}") as phase:
            mark = {_MARK: datetime.now(UTC).isoformat(timespec="microseconds")}
            change = {"spec": {"template": {"metadata": {"annotations": mark}}}}
            admin.patch("Deployment", service, change, namespace=environment, api_version="apps/v1")
            wait_for(
                f"the new pods of {service} in {environment}",
                partial(_rolled, admin, environment, service),
                timeout=ROLL_TIMEOUT,
                tolerate=NOT_YET,
                on_change=phase.say,
                hint=f"`kubectl describe deployment {service} --namespace {environment}` says what they wait for.",
            )
    return _digests(access, environment)


def _rolled(admin: Kube, environment: str, service: str) -> Ready[Object] | Pending | Failed:
    return rollout(admin.get("Deployment", service, namespace=environment, api_version="apps/v1"))


def _moved(access: Access, environment: str, move: Callable[[], object]) -> Mapping[str, str]:
    """Make a change of the records, which has to be one."""
    before = _commit(access, environment)
    move()
    if _commit(access, environment) == before:
        raise UsageError(f"{environment} runs that already: nothing was changed under the load, and nothing is proven.")
    return _digests(access, environment)


def _commit(access: Access, environment: str) -> str:
    return gitops.read(access.records(environment))[0]


def _digests(access: Access, environment: str) -> Mapping[str, str]:
    _, entries = gitops.read(access.records(environment))
    services = access.settings.services
    return {name: entry.record.digest for (where, name), entry in entries.items() if where == environment and name in services}
