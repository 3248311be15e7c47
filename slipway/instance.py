"""What an instance remembers of itself, in its own cluster: profile, source, registry; and its URLs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from slipway import names
from slipway.kube import Kube
from slipway.settings import Settings

_CONFIG_MAP = "instance"


@dataclass(frozen=True)
class Facts:
    """What `up` was told when it made the instance, and what it chose."""

    profile: str
    source: str
    registry: str


def read(kube: Kube) -> Facts | None:
    """The facts, or None when `up` has not come that far yet."""
    found = kube.get("ConfigMap", _CONFIG_MAP, namespace=names.SYSTEM)
    return Facts(**{name: found["data"][name] for name in Facts.__dataclass_fields__}) if found else None


def write(kube: Kube, facts: Facts) -> None:
    """Keep the facts in the cluster."""
    kube.apply(
        [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": names.SYSTEM, "labels": dict([_OWNED])}},
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": _CONFIG_MAP, "namespace": names.SYSTEM, "labels": dict([_OWNED])},
                "data": asdict(facts),
            },
        ]
    )


_OWNED = (names.OWNER_LABEL, names.OWNER)


def urls(settings: Settings, facts: Facts, port: int) -> Mapping[str, str]:
    """Every URL that the instance answers on, by what is there; services as `service.environment`."""
    profile = settings.profile(facts.profile)
    parts = ("argocd", "git", *(("prometheus", "alertmanager") if profile.monitoring else ()))
    services = {
        f"{service}.{environment}": names.url(service, port=port, environment=environment)
        for environment in profile.environments
        for service in settings.services
    }
    return {**services, **{part: names.url(part, port=port) for part in parts}}
