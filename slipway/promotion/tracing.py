"""Whether an image says of itself what its record says of it: the commit that it was built from."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from slipway import admission, images
from slipway.access import Access
from slipway.errors import SlipwayError
from slipway.policy import Refusal
from slipway.records import CHART, Record

_LOOKERS = 4


def untraced(access: Access, environment: str, records: Sequence[Record]) -> tuple[Refusal, ...]:
    """What speaks against records of stage and prod whose images are of another commit; nothing elsewhere.

    An image that is taken from elsewhere has the record with it that it was built for, and its commit: the two are the same
    for every image that the pipeline ever made. So one that names another commit was put into its place.

    Args:
        access: An instance.
        environment: Where they shall run.
        records: What shall run there.

    Raises:
        SlipwayError: The registry does not answer, or does not hold an image.
    """
    built = [record for record in records if record.chart in ("", CHART)]
    if not built or not admission.guarded(access.settings, [environment]):
        return ()
    with ThreadPoolExecutor(_LOOKERS) as pool:
        return tuple(refusal for refusal in pool.map(_judge, built) if refusal)


def _judge(record: Record) -> Refusal | None:
    reference = f"{record.image}@{record.digest}"
    said = images.revision(reference)
    if said is None:
        raise SlipwayError(f"the registry does not hold {reference} any more, so nobody can run it. Push another commit.")
    if said == record.source_commit:
        return None
    recorded = f"{record.service} {record.version} is said to be of {record.source_commit[:9]}"
    return Refusal(
        "origin", f"{recorded}, and its image says {said[:9] or 'nothing'}", "the image that the pipeline built of that commit"
    )
