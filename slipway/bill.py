"""The bill of materials of what runs."""

from __future__ import annotations

from slipway import engine, images, registry, status
from slipway.errors import SlipwayError, unknown
from slipway.settings import Settings


def bill(settings: Settings, service: str, *, environment: str = "") -> str:
    """What one environment runs of a service holds, as CycloneDX JSON.

    Args:
        settings: Which instance.
        service: The service's name.
        environment: The environment; by default the first that runs it.

    Raises:
        UsageError: There is no such service or environment, or its image has no bill.
        SlipwayError: It does not run.
    """
    if environment:
        settings.environment(environment)
    seen = status.status(settings)
    # What a branch brought runs too, though this checkout may not have it.
    known = {*settings.services, *(row.service for row in seen.services if row.kind == "service")}
    if service not in known:
        raise unknown("service", service, known)
    rows = [row for row in seen.services if row.service == service and environment in ("", row.environment) and row.digest]
    found = engine.find(settings)
    beside = registry.find(found) if found else None
    if not rows or beside is None:
        where = environment or "any environment"
        look = f"Look at `{settings.command('status')}`."
        raise SlipwayError(f"{service} does not run in {where} of {settings.instance}. {seen.trouble or look}")
    return images.bill(f"{images.service_repository(settings, beside, service)}@{rows[0].digest}")
