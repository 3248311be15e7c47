"""What the Tiltfile reads: every service and store of `local`, as the working tree and the instance have them now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from slipway import access, images, names
from slipway.access import Access
from slipway.credentials import write_private
from slipway.errors import SlipwayError, UsageError, unknown
from slipway.records import CHART, Entry, Record, dump, render, render_all
from slipway.settings import Settings

# Who works in `local`: the cluster lets this role change no object outside it, whatever a Tiltfile says.
ROLE = "developer"

# What every service is run with in `local`.
LAYER = "local-values.yaml"

# The environment whose files a service is run by where it has none for `local`, and whose stores are run here too.
MODEL = "dev"

# Where saved files go in a container, and where it is asked to start the service anew (services/Dockerfile, stage `live`).
COPY, CONTROL = "/tmp/app", "/tmp/live.sock"  # noqa: S108 - the container's own

# How that is asked; without what only other programs need, it asks faster.
RELOAD = ("/venv/bin/python", "-P", "-S", "-m", "live", "reload", CONTROL)

# The chart runs images by digest alone. That of a live image is Tilt's business, which puts the image in.
_NO_DIGEST = f"sha256:{'0' * 64}"

_LIVE = "live"
_WORKLOADS = {"Deployment", "StatefulSet", "Job"}

# What Tilt finds a workload for by itself.
_FOUND = {"Service", *_WORKLOADS}

# How the chart marks what comes first.
_FIRST = "argocd.argoproj.io/sync-wave"

Manifests = Sequence[Mapping[str, Any]]


def facts(settings: Settings, services: Sequence[str] = ()) -> dict[str, Any]:
    """All that the Tiltfile needs to know.

    Args:
        settings: The instance's.
        services: The services to work on; all of them when empty. The others run here as they run in dev.

    Raises:
        UsageError: There is no such service or instance, dev lacks a store, or a file of a service is malformed.
        SlipwayError: The instance lacks something that `up` makes.
        ChartError: The chart refuses a service's values.
    """
    for name in services:
        if name not in settings.services:
            raise unknown("service", name, settings.services)
    found = access.open(settings, ROLE)
    live = [name for name in settings.services if name in (services or settings.services)]
    running = _running(found)
    parts = [name for name in settings.delivered if name in live or name in running]
    for name in (name for name in parts if name in settings.services):
        if lacking := [store for store in _needs(settings, name) if store not in parts]:
            look = f"`{settings.command('status')}` says how far it is."
            raise UsageError(f"{MODEL} has no {lacking[0]} yet, which {name} needs: {look}")
    entries = render_all([partial(_entry, found, name, running.get(name, ("", "")), live=name in live) for name in parts])
    made = dict(zip(parts, entries, strict=True))
    return {
        "tilt": settings.versions["versions"]["tilt"],
        "context": f"{settings.context}-{ROLE}",
        "shared": images.SHARED,
        "copy": COPY,
        "reload": list(RELOAD),
        "secrets": _secrets(settings),
        "watched": _watched(settings),
        "stores": [_store(name, made[name].manifests) for name in settings.stores if name in made],
        "services": [_service(found, made[name], live=name in live) for name in settings.services if name in made],
    }


def answer(settings: Settings, services: Sequence[str] = ()) -> dict[str, Any]:
    """The facts, or, in their place, an `error`; what has to be watched is in both, for it is read again once it is mended."""
    try:
        return facts(settings, services)
    except SlipwayError as error:
        return {"watched": _watched(settings), "error": str(error)}


def _running(found: Access) -> Mapping[str, tuple[str, str]]:
    """The image and the version that dev runs of each service and store, by name."""
    there: dict[str, tuple[str, str]] = {}
    for kind in ("Deployment", "StatefulSet"):
        for item in found.kube.list(kind, namespace=MODEL, api_version="apps/v1"):
            version = (item["metadata"].get("annotations") or {}).get("slipway.dev/version", "")
            there[item["metadata"]["name"]] = item["spec"]["template"]["spec"]["containers"][0]["image"], version
    return there


def _entry(found: Access, name: str, runs: tuple[str, str], *, live: bool) -> Entry:
    settings, (image, version) = found.settings, runs
    repository, _, digest = (f"{names.LIVE_IMAGES}/{settings.instance}/{name}", "", _NO_DIGEST) if live else image.partition("@")
    store = name in settings.stores
    record = Record(names.LOCAL, name, _LIVE if live else version, repository, digest, "")
    return render(
        record,
        {} if store else values(settings, name),
        tier=settings.environment(MODEL).tier,
        chart=settings.root / "charts" / (name if store else CHART),
        helm_program=found.helm,
        kubernetes=found.kubernetes,
    )


def values(settings: Settings, service: str) -> dict[str, Any]:
    """How a service is run in `local`, and as `config` what it is told there.

    Raises:
        UsageError: One of its files is malformed.
    """
    folder, common = settings.root / "services" / service, _read(settings.cluster / LAYER)
    own = folder / "envs" / f"{names.LOCAL}.yaml"
    told = _read(own) if own.is_file() else _over(_read(folder / "envs" / f"{MODEL}.yaml"), common.get("config", {}))
    run = _over(_read(folder / "helm" / f"{MODEL}-values.yaml"), common)
    return {**_over(run, _read(folder / "helm" / LAYER)), "config": told}


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Values with others on top, as Helm puts files of them on each other."""
    made = dict(below)
    for name, value in above.items():
        under = made.get(name)
        made[name] = _over(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return made


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        loaded = yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise UsageError(f"{file} is no YAML: {' '.join(str(error).split())}. Correct it; it is read again at once.") from None
    if not isinstance(loaded, dict | None):
        raise UsageError(f"{file} is not a mapping of names to values. Correct it; it is read again at once.")
    return loaded or {}


def _secrets(settings: Settings) -> list[str]:
    """What steps of a build are told, as `docker build --secret` takes it; the files are this user's alone."""
    pip = _folder(settings) / "pip.conf"
    write_private(pip, images.pip_settings())
    bundle = images.ca_bundle()
    return [f"id=pip,src={pip}", *([f"id=ca,src={bundle}"] if bundle else [])]


def _folder(settings: Settings) -> Path:
    """Where an instance keeps what Tilt needs."""
    return settings.folder / "dev"


def _watched(settings: Settings) -> list[str]:
    """The files that the facts follow from; some need not be there."""
    services = settings.root / "services"
    charts = [settings.root / "charts" / name for name in (CHART, *settings.stores)]
    own = [
        services / name / file
        for name in settings.services
        for env in (MODEL, names.LOCAL)
        for file in (f"envs/{env}.yaml", f"helm/{env}-values.yaml")
    ]
    return [str(path) for path in (settings.cluster / LAYER, *charts, *own)]


def _store(name: str, manifests: Manifests) -> dict[str, Any]:
    return {"name": name, "yaml": dump(manifests).decode(), "objects": _objects(manifests)}


def _service(found: Access, entry: Entry, *, live: bool) -> dict[str, Any]:
    settings, name = found.settings, entry.record.service
    jobs = [item["metadata"]["name"] for item in entry.manifests if item["kind"] == "Job"]
    # What a migration needs is there before everything else, as the chart tells Argo CD too.
    before = [item for item in entry.manifests if jobs and _FIRST in (item["metadata"].get("annotations") or {})]
    base = found.plan.image("python-build")
    if live and not found.engine.has_image(base):
        again = f"Run `{settings.command('up')}` again."
        raise SlipwayError(f"the engine does not hold {base} any more, which images are built on. {again}")
    return {
        "name": name,
        "live": live,
        "yaml": dump(entry.manifests).decode(),
        "image": entry.record.image,
        "only": [name, images.SHARED, _LIVE],
        "arguments": {"BASE": base, "BUILD_BASE": base, "SERVICE": name},
        "rebuilt_by": [f"services/{name}/requirements.txt"],
        "needs": _needs(settings, name),
        "objects": _objects([item for item in entry.manifests if item not in before]),
        "jobs": [{"workload": job, "name": f"{name}-migrations", "objects": _objects(before)} for job in jobs],
        "url": names.url(name, port=found.port, environment=names.LOCAL),
        "tests": ["./invoke", "test.services", "--only", f"own_tests_pass[{name}]"],
    }


def _needs(settings: Settings, service: str) -> list[str]:
    """The stores that a service keeps something in."""
    return [store.name for store in settings.stores.values() if service in store.clients]


def _objects(manifests: Manifests) -> list[str]:
    """What goes with a workload, as Tilt names objects."""
    return [f"{item['metadata']['name']}:{item['kind'].lower()}" for item in manifests if item["kind"] not in _FOUND]
