"""Versions as SemVer orders them, and which one a build gets. The Git server asks it too: it needs the standard library alone."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass

_VERSION = re.compile(
    r"v?(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(?:-((?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)(?:\.(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*))*))?"
)

_RELEASE = re.compile(r"release/v(\d+\.\d+\.\d+)")

# A registry's tag has 128 letters at most; a branch's name may be longer.
_LONGEST_SLUG = 60


@functools.total_ordering
@dataclass(frozen=True)
class Version:
    """A version without build metadata; `pre` is what stands behind the dash, part by part."""

    major: int
    minor: int
    patch: int
    pre: tuple[str, ...] = ()

    def __str__(self) -> str:
        """As it is written, without a "v"."""
        return f"{self.major}.{self.minor}.{self.patch}" + (f"-{'.'.join(self.pre)}" if self.pre else "")

    @property
    def core(self) -> Version:
        """The version it leads to: itself without what stands behind the dash."""
        return Version(self.major, self.minor, self.patch)

    @property
    def next_minor(self) -> Version:
        """The next one that begins from develop."""
        return Version(self.major, self.minor + 1, 0)

    @property
    def next_patch(self) -> Version:
        """The next hotfix."""
        return Version(self.major, self.minor, self.patch + 1)

    @property
    def _order(self) -> tuple[object, ...]:
        # Numbers come before words, fewer parts before more, and all of them before the version itself.
        parts = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in self.pre)
        return self.major, self.minor, self.patch, not self.pre, parts

    def __lt__(self, other: Version) -> bool:
        """Whether it comes before another one."""
        return self._order < other._order


def parse(text: str) -> Version | None:
    """The version that a text is, with or without a "v" in front; None when it is none."""
    found = _VERSION.fullmatch(text)
    if not found:
        return None
    major, minor, patch, pre = found.groups()
    return Version(int(major), int(minor), int(patch), tuple(pre.split(".")) if pre else ())


def newest(texts: Iterable[str]) -> Version | None:
    """The highest final version among names such as v1.2.3 or refs/tags/v1.2.3; None when there is none."""
    return max(_final(texts), default=None)


def oldest(texts: Iterable[str]) -> Version | None:
    """The lowest final version among such names; None when there is none."""
    return min(_final(texts), default=None)


def _final(texts: Iterable[str]) -> list[Version]:
    found = (parse(text.removeprefix("refs/tags/")) for text in texts)
    return [version for version in found if version and not version.pre]


def release(branch: str) -> Version | None:
    """The version that a release branch is for; None when the branch is no release."""
    found = _RELEASE.fullmatch(branch)
    return parse(found[1]) if found else None


def version(label: str, branch: str, tags: Iterable[str], count: int) -> str:
    """The version of what is built from a commit: 0.2.0-dev.7.

    It grows within one branch's line, because a branch of the application never loses a commit.

    Args:
        label: What its line is called in versions; empty for the branch's own name.
        branch: The branch it is built for.
        tags: The names of the tags there are.
        count: How many commits it has behind it, from where counting begins; that must never move, or versions would go back.
    """
    begun = newest(tags)
    base = release(branch) or (begun.next_minor if begun else Version(0, 1, 0))
    return f"{base}-{label or slug(branch)}.{count + 1}"


def slug(branch: str) -> str:
    """A branch's name as it may stand in a version and in a tag."""
    cleaned = re.sub(r"[^0-9A-Za-z-]+", "-", branch).strip("-")[:_LONGEST_SLUG].strip("-") or "branch"
    # SemVer takes no number that begins with a zero, and a number alone would be no name.
    return f"b{cleaned}" if cleaned.isdigit() else cleaned


__all__ = ["Version", "newest", "oldest", "parse", "release", "slug", "version"]
