"""What lives in the environments, beside what Git records of them: field by field, and image by image."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from typing import Any, cast

from tests.e2e import delivering, ledger
from tests.e2e.conftest import Instance

# What runs, so that one more of it than Git has would be somebody's own doing.
_RUNNING = (("apps/v1", "Deployment"), ("apps/v1", "StatefulSet"), ("apps/v1", "DaemonSet"), ("batch/v1", "CronJob"))

_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
_FACTORS = {
    **{"": 1, "m": Decimal("0.001"), "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12},
    **{"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40},
}


def departures(instance: Instance, environments: Collection[str]) -> list[str]:
    """Everything in which these environments are not what Git records: an object, a field, the image of a pod, something more."""
    return [
        f"{environment}: {wrong}"
        for environment in environments
        for wrong in (*_objects(instance, environment), *_images(instance, environment))
    ]


def _objects(instance: Instance, environment: str) -> Iterable[str]:
    entries = delivering.read(instance, instance.settings.environment(environment).repository)[1]
    recorded = [item for (name, _), entry in sorted(entries.items()) if name == environment for item in entry.manifests]
    for item in recorded:
        kind, name = item["kind"], item["metadata"]["name"]
        live = instance.kube.get(kind, name, namespace=environment, api_version=item["apiVersion"])
        yield from _lacking(item, live, f"{kind} {name}") if live else (f"{kind} {name} is not there",)
    known = {(item["kind"], item["metadata"]["name"]) for item in recorded}
    for version, kind in _RUNNING:
        for item in instance.kube.list(kind, namespace=environment, api_version=version):
            if (kind, item["metadata"]["name"]) not in known:
                yield f"{kind} {item['metadata']['name']} is in no record"


def _images(instance: Instance, environment: str) -> Iterable[str]:
    for service in instance.settings.services:
        digest = delivering.entry(instance, environment, service).record.digest
        for pod in ledger.pods_of(instance, environment, service):
            runs = {one["imageID"].rpartition("@")[2] for one in pod["status"].get("containerStatuses") or []}
            if runs != {digest}:
                yield f"pod {pod['metadata']['name']} runs {sorted(runs)}, not {digest}"


def _lacking(wanted: Any, live: Any, place: str) -> Iterable[str]:
    """What of `wanted` an object does not have; what the API server filled in besides does not matter."""
    if isinstance(wanted, Mapping) and isinstance(live, Mapping):
        for key, value in cast("Mapping[str, Any]", wanted).items():
            yield from _lacking(value, cast("Mapping[str, Any]", live).get(key), f"{place}.{key}")
    elif isinstance(wanted, list) and isinstance(live, list) and len(cast("list[Any]", wanted)) == len(cast("list[Any]", live)):
        pairs = zip(cast("list[Any]", wanted), cast("list[Any]", live), strict=True)
        for number, (one, other) in enumerate(pairs):
            yield from _lacking(one, other, f"{place}[{number}]")
    # The API server leaves out what is empty, and has its own way to write amounts.
    elif wanted != live and (wanted or live) and (_amount(wanted) is None or _amount(wanted) != _amount(live)):
        yield f"{place} is {live!r}, not {wanted!r}"


def _amount(value: Any) -> Decimal | None:
    found = _AMOUNT.fullmatch(str(value))
    return Decimal(found[1]) * _FACTORS[found[2] or ""] if found else None
