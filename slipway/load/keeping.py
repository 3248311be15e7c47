"""Runs of load tests on the host, each a folder of its own; and the word to the pipeline that a release has passed one."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from slipway import gitops, policy, releases
from slipway.access import Access
from slipway.errors import UsageError, unknown
from slipway.load import plan, profiles
from slipway.load.model import PASS, Asked, Run, from_json, to_json
from slipway.locks import LoadResult
from slipway.settings import Settings

RUN = "run.json"

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Kept:
    """One folder of a run; `run` is None when its file cannot be read, and `trouble` says why."""

    id: str
    folder: Path
    run: Run | None
    trouble: str = ""


def folder(settings: Settings, run: str = "") -> Path:
    """Where the runs of an instance lie, or one of them.

    Raises:
        UsageError: It is no name of a run.
    """
    if run and not _ID.fullmatch(run):
        raise UsageError(f"{run!r} is no run of a load test. `{settings.command('load.runs')}` lists them.")
    return settings.folder / "load" / run


def keep(settings: Settings, run: Run) -> Path:
    """The folder in which a run is kept from now on, whole or not at all."""
    place = folder(settings, run.id)
    place.mkdir(parents=True, exist_ok=True)
    fresh = place / f".{RUN}.new"
    fresh.write_text(to_json(run), encoding="utf-8")
    fresh.replace(place / RUN)
    return place


def read(settings: Settings, run: str) -> Run:
    """The run of that name, or of the only one that begins so; "last" is the newest.

    Raises:
        UsageError: There is none, there are several, or its file is none.
    """
    there = every_id(settings)
    fitting = (
        there[:1] if run == "last" else [one for one in there if one == run] or [one for one in there if one.startswith(run)]
    )
    if len(fitting) != 1 or not run:
        raise unknown("run of a load test", run, [*(fitting or there)[:8], "last"])
    return from_json((folder(settings, fitting[0]) / RUN).read_text(encoding="utf-8"))


def every(settings: Settings) -> list[Kept]:
    """Every run, the newest first; one that cannot be read is told, not passed over."""
    found: list[Kept] = []
    for one in every_id(settings):
        try:
            found.append(Kept(one, folder(settings, one), from_json((folder(settings, one) / RUN).read_text(encoding="utf-8"))))
        except (UsageError, OSError) as error:
            found.append(Kept(one, folder(settings, one), None, str(error)))
    return found


def every_id(settings: Settings) -> list[str]:
    """The names of all runs, the newest first: they begin with their time."""
    return sorted((file.parent.name for file in folder(settings).glob(f"[!.]*/{RUN}")), reverse=True)


def objection(settings: Settings, run: Run, gate: policy.Gate) -> str:
    """Why a run does not count for the release that was under test; empty when it does.

    Raises:
        UsageError: The profiles cannot be read.
    """
    target, changed, wanted = run.target, run.change.kind if run.change else "", gate.after
    standard = plan.make(
        profiles.find(settings.root / profiles.FILE, run.plan.profile), Asked(target.environment, run.plan.profile)
    )
    against = {
        f"its verdict is {run.verdict.outcome}": run.verdict.outcome != PASS,
        "its generator was on the host, which is a look and no proof": target.local,
        f"a {changed} was driven while it ran, so it is no test of one release": bool(changed),
        f"it was against {target.environment}; {gate.environment} asks for one against {wanted}": target.environment != wanted,
        f"{target.environment} ran no release's lock": not target.lock or not target.release,
        f"it was not the profile {run.plan.profile} as it stands (--rate or --duration made it another)": (
            (run.plan.phases, dict(run.plan.weights)) != (standard.phases, dict(standard.weights))
        ),
    }
    return next((why for why, so in against.items() if so), "")


def record(access: Access, run: Run, *, user: str = "") -> gitops.Published | None:
    """The commit of the GitOps repository that says that the release under test passed; None when nothing waits for that.

    Args:
        access: An instance, as the pipeline.
        run: The run, kept already.
        user: On whose behalf it ran.

    Raises:
        Uncounted: The run proves less than what is asked for, or was planned or judged by other files than the release has.
        SlipwayError: The environment did not run the lock, exactly, or does not any more.
    """
    gates = list(access.settings.policy.approvals.values())
    if not gates:
        return None
    # Of a test of what comes before no gate, the first one says what it would have asked for.
    gate = next((one for one in gates if one.after == run.target.environment), gates[0])
    if why := objection(access.settings, run, gate):
        raise releases.Uncounted(why)
    return releases.withstood(access, result(run), rules=run.rules, triggered_by=user)


def result(run: Run) -> LoadResult:
    """What a passed run says of the release that was under test."""
    seen = {service: _one({pod.digest for pod in run.pods.after if pod.service == service}) for service in run.target.digests}
    return LoadResult(
        release=run.target.release,
        lock=run.target.lock,
        environment=run.target.environment,
        commit=run.target.commit,
        digests=seen,
        run=run.id,
        profile=run.plan.profile,
        time=run.time,
    )


def _one(digests: Collection[str]) -> str:
    return next(iter(digests)) if len(digests) == 1 else ""
