"""{{ name }}: say here, in one sentence, what it does for whom."""

from __future__ import annotations

from pydantic import BaseModel, Field

from chassis import Config, Identity, Service, run


class OwnConfig(Config):
    """What this service is told, beside what every service is told."""

    notice: str = Field(default="", max_length=200, description="A sentence shown to every visitor of this environment.")


class Front(BaseModel):
    """The front door."""

    service: str
    environment: str
    notice: str


def create(config: OwnConfig, identity: Identity) -> Service[OwnConfig]:
    """The service, ready to serve."""
    service = Service(config, identity, description=__doc__ or "")
    app = service.app

    @app.get("/")
    async def front() -> Front:
        """Says which service this is, and what it is told in this environment."""
        return Front(service=identity.service, environment=identity.environment, notice=config.notice)

    return service


if __name__ == "__main__":
    run("{{ name }}", create, OwnConfig)
