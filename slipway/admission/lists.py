"""The lists of images that an environment admits: written, and waited for until the API server goes by them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress

from slipway import names
from slipway.errors import SlipwayError, UsageError
from slipway.kube import Conflict, Kube, KubeError, Object
from slipway.waiting import Clock, Pending, Ready, wait_for

# Seconds. The API server watches the lists.
OBSERVED_TIMEOUT = 20.0

# Somebody else can come first a few times; more often means that something is wrong.
_ATTEMPTS = 6

_REFERENCE = re.compile(r"[^@\s]+@(sha256:[0-9a-f]{64})")


class NotAnImage(UsageError):
    """What is to be approved does not name one image for ever."""


def probe(environment: str) -> str:
    """The name of the ConfigMap whose dry run says what an environment admits."""
    return f"observed-{environment}"


def approved(kube: Kube, environment: str) -> list[str]:
    """The full references of the images that an environment admits; none when there is no list."""
    return sorted(_listed(_list(kube, environment)))


def missing(kube: Kube, environment: str) -> bool:
    """Whether an environment has no list, so that it admits nothing."""
    return _list(kube, environment) is None


def approve(
    kube: Kube,
    environment: str,
    references: Iterable[str],
    *,
    timeout: float = OBSERVED_TIMEOUT,
    on_change: Callable[[str], None] | None = None,
    clock: Clock | None = None,
) -> frozenset[str]:
    """Those of these images that were not approved before, once the API server admits all of them to an environment.

    What was approved before stays so. Images that it does not come to admit are not approved either.

    Args:
        kube: The cluster, as the pipeline or its admin.
        environment: One of the guarded ones.
        references: What is approved, each with its digest: "localhost:5001/catalog@sha256:...".
        timeout: Seconds.
        on_change: Told what is waited for.
        clock: Another clock, for tests.

    Raises:
        NotAnImage: A reference has no digest.
        KubeError: The API server does not let the user change the list.
        WaitTimeout: The API server does not go by the list.
    """
    wanted = _checked(references)
    new = frozenset(wanted - _change(kube, environment, lambda had: had | wanted))
    try:
        _observe(kube, environment, wanted, admitted=True, timeout=timeout, on_change=on_change, clock=clock)
    except SlipwayError:
        with suppress(SlipwayError):
            _change(kube, environment, lambda had: had - new)
        raise
    return new


def revoke(
    kube: Kube,
    environment: str,
    references: Iterable[str],
    *,
    timeout: float = OBSERVED_TIMEOUT,
    on_change: Callable[[str], None] | None = None,
    clock: Clock | None = None,
) -> None:
    """Return when the API server does not admit these images any more. What runs already goes on, and may be rescheduled.

    Args:
        kube: The cluster, as the pipeline or its admin.
        environment: One of the guarded ones.
        references: What is not approved any more.
        timeout: Seconds.
        on_change: Told what is waited for.
        clock: Another clock, for tests.

    Raises:
        NotAnImage: A reference has no digest.
        KubeError: The API server does not let the user change the list.
        WaitTimeout: The list is written, but the API server does not go by it.
    """
    unwanted = _checked(references)
    _change(kube, environment, lambda had: had - unwanted)
    for one in sorted(unwanted):
        _observe(kube, environment, {one}, admitted=False, timeout=timeout, on_change=on_change, clock=clock)


def withdraw(kube: Kube, environment: str, references: Iterable[str], *, kept: Callable[[], Collection[str]]) -> frozenset[str]:
    """Those of these images that were revoked: all but those that are to be kept.

    Args:
        kube: The cluster, as the pipeline or its admin.
        environment: One of the guarded ones.
        references: What was approved for something that did not come about.
        kept: Which images have a reason to be approved; asked again afterwards, for somebody who came in between has found
            them approved.
    """
    gone = frozenset(set(references) - set(kept()))
    if not gone:
        return gone
    revoke(kube, environment, gone)
    again = gone & frozenset(kept())
    if again:
        approve(kube, environment, again)
    return gone - again


def _checked(references: Iterable[str]) -> set[str]:
    wanted = set(references)
    for one in sorted(wanted):
        if not _REFERENCE.fullmatch(one):
            raise NotAnImage(
                f"{one!r} cannot be approved: it has no digest. Approve NAME@sha256:DIGEST, as the registry tells it."
            )
    return wanted


def _change(kube: Kube, environment: str, edit: Callable[[set[str]], set[str]]) -> set[str]:
    """What was on the list before it became what `edit` makes of it; two at a time lose nothing of each other's."""
    name = names.approved(environment)
    for _ in range(_ATTEMPTS):
        found = _list(kube, environment)
        had = _listed(found)
        wanted = edit(had)
        if found is None:
            meta = {"name": name, "namespace": names.ADMISSION, "labels": {names.OWNER_LABEL: names.OWNER}}
            if kube.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": _data(wanted)}) is not None:
                return had
            continue
        if wanted == had:
            return had
        old, new = found.get("data") or {}, _data(wanted)
        data = {key: new.get(key) for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
        version = {"resourceVersion": found["metadata"]["resourceVersion"]}
        try:
            kube.patch("ConfigMap", name, {"metadata": version, "data": data}, namespace=names.ADMISSION)
        except Conflict:
            continue
        return had
    raise SlipwayError(f"somebody else changed {name} each of {_ATTEMPTS} times. Repeat the command.")


def _list(kube: Kube, environment: str) -> Object | None:
    return kube.get("ConfigMap", names.approved(environment), namespace=names.ADMISSION)


def _listed(found: Object | None) -> set[str]:
    data: Mapping[str, str] = (found or {}).get("data") or {}
    return {reference for references in data.values() for reference in references.split("\n")}


def _data(references: Iterable[str]) -> dict[str, str]:
    """By digest, so that the API server finds an image at once however long the list becomes."""
    data: dict[str, list[str]] = {}
    for one in sorted(references):
        data.setdefault(one.rpartition("@")[2].replace(":", "-"), []).append(one)
    return {key: "\n".join(found) for key, found in data.items()}


def _observe(
    kube: Kube,
    environment: str,
    references: Iterable[str],
    *,
    admitted: bool,
    timeout: float,
    on_change: Callable[[str], None] | None,
    clock: Clock | None,
) -> None:
    listed = sorted(references)
    if not listed:
        return
    short = ", ".join(one.rpartition("/")[2][:40] for one in listed)
    meta = {"name": probe(environment), "namespace": names.ADMISSION}
    item = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"images": "\n".join(listed)}}

    def look() -> Ready[None] | Pending:
        said = refusal(kube, item)
        if said and "ValidatingAdmissionPolicy" not in said:
            raise KubeError(said)
        return Ready(None) if admitted is not bool(said) else Pending(said or "it is still admitted")

    wait_for(
        f"{environment} to {'admit' if admitted else 'refuse'} {short}",
        look,
        timeout=timeout,
        on_change=on_change,
        hint="Look at `kubectl get validatingadmissionpolicies`; `./invoke up` makes what is missing.",
        clock=clock,
    )


def refusal(kube: Kube, item: Object) -> str:
    """What the API server has against making an object; nothing is made, and nothing said when it would be."""
    try:
        kube.create(item, dry_run=True)
    except KubeError as error:
        return str(error)
    return ""
