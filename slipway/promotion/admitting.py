"""Letting stage and prod admit what is about to be recorded, and no longer when it is refused."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Sequence
from contextlib import contextmanager

from slipway import admission, git, gitops
from slipway.access import Access
from slipway.errors import SlipwayError
from slipway.gitops import Entry
from slipway.kube import NOT_YET
from slipway.promotion.changes import Refused


def admit(access: Access, environment: str, entries: Sequence[Entry]) -> Collection[str]:
    """Let the cluster run the images of these entries, where it runs approved ones only; observed when this returns.

    Those are returned that it would not have run before.
    """
    images = _images(entries)
    if not images or not admission.guarded(access.settings, [environment]):
        return ()
    return admission.approve(access.kube, environment, images)


@contextmanager
def unless_refused(access: Access, environment: str, listed: Collection[str]) -> Generator[None]:
    """Take these images off the list again when what they were listed for is refused in the block.

    What an environment has come to record meanwhile stays: somebody else's promotion has found it listed.

    Args:
        access: An instance, as the pipeline.
        environment: The environment.
        listed: The images that were listed for it, once that was done.
    """
    try:
        yield
    except (Refused, git.PushRefused, git.PushConflict) as refused:
        try:
            if listed:
                admission.withdraw(access.kube, environment, listed, kept=lambda: _recorded(access, environment))
        except (SlipwayError, *NOT_YET) as error:
            up = access.settings.command("up")
            left = f"{environment} goes on to admit its images until the next `{up}`, which takes them off the list: {error}"
            refused.args = (f"{refused}\n{left}",)
        raise


def _recorded(access: Access, environment: str) -> Collection[str]:
    _, there = gitops.read(access.records(environment))
    return _images(entry for (name, _), entry in there.items() if name == environment)


def _images(entries: Iterable[Entry]) -> Sequence[str]:
    return sorted({f"{entry.record.image}@{entry.record.digest}" for entry in entries if not entry.record.retired})
