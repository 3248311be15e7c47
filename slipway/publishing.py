"""Service images for a registry of the user's own: published once as a candidate, by digest, and promoted by one more tag.

No version is ever given to two images.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

from rich.console import Console
from rich.table import Table

from slipway import engine, genesis, git, images, oci, policy, pull, recipes, sbom, target, versions
from slipway.errors import UsageError, unknown
from slipway.images import Built
from slipway.progress import Phase, Progress
from slipway.settings import Settings
from slipway.steps import Step, needed, run_steps
from slipway.target import Target


@dataclass(frozen=True)
class Asked:
    """What is to be published.

    Attributes:
        registry: Where to; "" for SLIPWAY_REGISTRY.
        version: The version; "" for what branch and commits make it.
        services: Some of the services; all when there are none.
        source: Where the images come from that they stand on: "auto", "pull" or "build".
    """

    registry: str = ""
    version: str = ""
    services: tuple[str, ...] = ()
    source: str = "auto"


@dataclass(frozen=True)
class Image:
    """A service's image under its version.

    Attributes:
        service: The service.
        reference: Its name, with the version as tag.
        digest: Which it is ("sha256:...").
        new: Whether the version is new there; it named this very image before, otherwise.
    """

    service: str
    reference: str
    digest: str
    new: bool


@dataclass(frozen=True)
class Published:
    """Images of one version.

    Attributes:
        version: The version.
        origin: What they were made of: a commit, or the candidate they were.
        images: The images, by service.
    """

    version: str
    origin: str
    images: tuple[Image, ...]


def counted(settings: Settings) -> str:
    """The version of what is checked out, as its branch and all its commits make it: 0.2.0-rc.31 on release/v0.2.0.

    Raises:
        UsageError: There is no branch, none that the policy names, or too little of its history.
    """
    at = settings.root
    branch = git.branch(at)
    if not branch:
        raise UsageError("no branch is checked out, so its commits make no version: give --version X.Y.Z-LABEL.N.")
    line = policy.line(settings.policy, branch)
    if line is None:
        raise UsageError(f"the policy names no branch like {branch}: `./invoke policy` shows which there are.")
    if git.shallow(at):
        raise UsageError(
            "a version is counted from tags and commits, and this checkout lacks the older ones: `git fetch --unshallow --tags` "
            "gets them (actions/checkout: fetch-depth: 0)."
        )
    tags = git.local_refs(at, "refs/tags")
    # All of them: here nobody knows which release was the first one, and whatever else counting could begin at comes later than
    # some branch, which would then get the versions again that it had.
    return versions.version(line.label, branch, tags, git.count(at, "HEAD"))


def build(settings: Settings, *, services: Sequence[str], source: str, progress: Progress) -> Published:
    """The images of the last commit's services in the registry beside the clusters, as an instance begins with them.

    Args:
        settings: Which checkout.
        services: Some of its services; all when there are none.
        source: Where the images come from that they stand on: "auto", "pull" or "build".
        progress: Where the steps are shown.

    Raises:
        UsageError: A name is not valid, or there is no commit.
        PhaseFailed: A step failed.
    """
    origin = genesis.origin(settings)
    made = _build(settings, _chosen(settings, services), source=source, version=genesis.VERSION, origin=origin, progress=progress)
    listed = (Image(name, one.reference, one.digest, new=True) for name, one in made.items())
    return Published(genesis.VERSION, f"commit {origin.commit}", tuple(listed))


def publish(settings: Settings, asked: Asked, *, progress: Progress, environ: Mapping[str, str] = os.environ) -> Published:
    """The images of the last commit's services in a registry of the user's own, each under its version, with its bill.

    The version names nothing before every image is there; it is never given to another image than before.

    Args:
        settings: Which checkout.
        asked: What, and where to.
        progress: Where the steps are shown.
        environ: Where the settings are looked up.

    Raises:
        UsageError: A name is not valid, or the version belongs to another image.
        PhaseFailed: A step failed.
        RegistryError: The registry refuses, or does not answer.
    """
    place, wanted = target.find(asked.registry, environ=environ), _chosen(settings, asked.services)
    named, origin = _named(asked.version) if asked.version else counted(settings), genesis.origin(settings)
    target.sign_in(place, environ=environ)
    made = _build(settings, wanted, source=asked.source, version=named, origin=origin, progress=progress)
    with progress.showing(), progress.phase(f"publish {named}") as phase:
        _require_free(place, named, {name: one.digest for name, one in made.items()})
        for name, one in made.items():
            phase.say(place.repository(name))
            exact = f"{one.repository}@{one.digest}"
            oci.copy(exact, f"{place.repository(name)}@{one.digest}")
            for bill in oci.referrers(exact, sbom.MEDIA_TYPE):
                oci.copy(f"{one.repository}@{bill}", f"{place.repository(name)}@{bill}")
        return Published(named, f"commit {origin.commit}", _tag(place, named, {name: one.digest for name, one in made.items()}))


def promote(
    settings: Settings, release: str, *, registry: str, progress: Progress, environ: Mapping[str, str] = os.environ
) -> Published:
    """The images of a release's candidate under its final version: one more tag on the same digest. Nothing is built.

    Which services that are is said by the commit that the candidate was made of, whatever is checked out.

    Args:
        settings: Which checkout.
        release: A candidate (0.2.0-rc.3), or a release (v0.2.0) for the newest candidate that every service has.
        registry: Where; "" for SLIPWAY_REGISTRY.
        progress: Where the steps are shown.
        environ: Where the settings are looked up.

    Raises:
        UsageError: There is no such candidate, the checkout lacks the commit that it was made of, the policy lets nothing
            of its kind go to prod, or the final version belongs to other images.
        RegistryError: The registry refuses, or does not answer.
    """
    asked, place = versions.parse(release), target.find(registry, environ=environ)
    if asked is None:
        raise UsageError(f"{release!r} is no release: write v0.2.0, or its candidate as 0.2.0-rc.3.")
    labels, last = _labels(settings)
    if asked.pre and (len(asked.pre) != 2 or asked.pre[0] not in labels):
        raise UsageError(
            f"REFUSED by rule 'branches': {asked} is no candidate for {last}.\n"
            f"Allowed: what was published as {' or '.join(f'X.Y.Z-{label}.N' for label in labels)}; `./invoke policy` tells more."
        )
    target.sign_in(place, environ=environ)
    with progress.showing(), progress.phase(f"promote {asked}") as phase:
        candidate = asked if asked.pre else _newest(settings, place, asked, labels)
        phase.say(f"candidate {candidate}")
        found = {name: oci.digest(f"{place.repository(name)}:{candidate}") for name in _services(settings, place, candidate)}
        digests = {name: digest for name, digest in found.items() if digest}
        if lacking := sorted(set(found) - set(digests)):
            raise UsageError(
                f"{place.host} has no {candidate} of {', '.join(lacking)}: `./invoke images.publish` makes candidates."
            )
        final = str(candidate.core)
        _require_free(place, final, digests)
        return Published(final, str(candidate), _tag(place, final, digests))


def show(made: Published, console: Console) -> None:
    """Print it for a person."""
    table = Table("SERVICE", "DIGEST", "IMAGE", "", box=None, pad_edge=False)
    for one in made.images:
        table.add_row(one.service, one.digest.removeprefix("sha256:")[:8], one.reference, "" if one.new else "there already")
    console.print(table)
    console.print(f"\n{made.version}, made of {made.origin}", markup=False)


def _chosen(settings: Settings, services: Sequence[str]) -> Sequence[str]:
    for name in services:
        if name not in settings.services:
            raise unknown("service", name, settings.services)
    return tuple(services) or settings.services


def _named(text: str) -> str:
    found = versions.parse(text)
    if found is None:
        raise UsageError(f"{text!r} is no semantic version: write 0.2.0-rc.3.")
    return str(found)


def _build(
    settings: Settings, services: Sequence[str], *, source: str, version: str, origin: genesis.Origin, progress: Progress
) -> Mapping[str, Built]:
    made: dict[str, Built] = {}
    with contextlib.ExitStack() as stack:
        stack.enter_context(progress.showing())
        found = engine.connect(settings, progress=progress)
        choice = pull.choose(source, settings)
        if origin.dirty:
            progress.note("uncommitted changes are left out: images are made of the last commit")
        plan = recipes.plan(settings, found, choice.source)
        taken = stack.enter_context(genesis.source(settings, origin.commit, ["services"]))

        def make(service: str, phase: Phase) -> None:
            made[service] = images.build_service(
                settings,
                found,
                plan.registry,
                service=service,
                context=taken.folder / "services",
                base=plan.image("python"),
                build_base=plan.image("python-build"),
                version=version,
                commit=origin.commit,
                phase=phase,
            )
            phase.say(made[service].digest)

        below = ("registry", "image python", "image python-build")
        # One after the other: each keeps every processor busy by itself.
        own = [Step(f"build {name}", partial(make, name), below, lane="services") for name in services]
        run_steps([*needed(plan.steps, below), *own], progress)
    return {name: made[name] for name in services}


def _labels(settings: Settings) -> tuple[Sequence[str], str]:
    """What versions are called before they are final, of the branches that may be sent to the last environment."""
    last = list(settings.policy.environments)[-1]
    lines = [line for line in settings.policy.lines if line.reach.get(last) == "dispatch" and line.label]
    return sorted({line.label for line in lines}), last


def _newest(settings: Settings, place: Target, release: versions.Version, labels: Sequence[str]) -> versions.Version:
    """The newest candidate, which every service has; what only some have is not whole."""
    some = set[versions.Version]()
    for name in settings.services:
        parsed = (versions.parse(tag) for tag in oci.tags(place.host, place.repository(name).partition("/")[2]))
        some |= {one for one in parsed if one and one.core == release and len(one.pre) == 2 and one.pre[0] in labels}
    whole = next((one for one in sorted(some, reverse=True) if _whole(settings, place, one)), None)
    if whole is None:
        raise UsageError(f"{place.host} has no candidate of {release} that every service has: ./invoke images.publish makes one.")
    if max(some) != whole:
        raise UsageError(
            f"not every service has {max(some)}, the newest candidate of {release}. Publish it whole, or name the one you "
            f"mean: ./invoke images.promote {whole}"
        )
    return whole


def _whole(settings: Settings, place: Target, candidate: versions.Version) -> bool:
    return all(oci.digest(f"{place.repository(name)}:{candidate}") for name in _services(settings, place, candidate))


def _services(settings: Settings, place: Target, candidate: versions.Version) -> Sequence[str]:
    """The services of what a candidate was made of: what is checked out may have other ones than the release."""
    said = {images.revision(f"{place.repository(name)}:{candidate}") for name in settings.services}
    found = set[str]()
    for commit in said - {None}:
        if not commit or git.resolve(settings.root, commit) is None:
            raise UsageError(
                f"{candidate} says that it was made of {commit or 'nothing'}, and this checkout has no such commit, so which "
                "services belong to it is not known. `git fetch` gets it (actions/checkout: fetch-depth: 0)."
            )
        paths = (PurePosixPath(path) for path in git.tree(settings.root, commit, "services"))
        found |= {path.parent.name for path in paths if path.match("services/*/main.py")}
    return sorted(found) or settings.services


def _require_free(place: Target, version: str, digests: Mapping[str, str]) -> None:
    for name, digest in digests.items():
        there = oci.digest(f"{place.repository(name)}:{version}")
        if there not in (None, digest):
            raise UsageError(
                f"{place.repository(name)}:{version} is another image already ({there}), and a version is never used twice. "
                "Commit, so that the next version is another one."
            )


def _tag(place: Target, version: str, digests: Mapping[str, str]) -> tuple[Image, ...]:
    made = ((name, digest, oci.alias(f"{place.repository(name)}@{digest}", version)) for name, digest in digests.items())
    return tuple(Image(name, f"{place.repository(name)}:{version}", digest, new) for name, digest, new in made)


__all__ = ["Asked", "Image", "Published", "build", "counted", "promote", "publish", "show"]
