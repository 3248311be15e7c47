"""What a service is told: one YAML file, checked whole before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

DEFAULT_PATH = Path("/etc/slipway/config.yaml")


class ConfigError(Exception):
    """The configuration cannot be used; the message names the file, each key, and what is wrong with it."""


class Fault(BaseModel):
    """A misbehaviour to show on purpose, on one route or all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    route: str = Field(default="*", max_length=200, description="Path as the OpenAPI document writes it, or * for every route.")
    method: str = Field(default="*", max_length=10, description="HTTP method, or * for every method.")
    latency_ms: int = Field(default=0, ge=0, le=60_000, description="Milliseconds to wait before anything else.")
    status: Annotated[int, Field(ge=400, le=599)] | None = Field(
        default=None, description="Status to answer instead of the result."
    )
    ratio: float = Field(default=1.0, ge=0, le=1, description="Share of the requests that are hit.")
    seconds: float | None = Field(
        default=None, gt=0, le=86_400, description="Lifetime; without it the fault stays until removed."
    )


class Config(BaseModel):
    """What every service can be told; a service adds its own keys in a subclass."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    drain_seconds: float = Field(
        default=5, ge=0, le=300, description="How long, after SIGTERM, open connections may still bring requests."
    )
    finish_seconds: int = Field(default=10, ge=1, le=300, description="How long, after that, requests under way may take.")
    keep_alive_seconds: int = Field(
        default=75, ge=1, le=3600, description="How long an idle connection stays; longer than its callers keep theirs."
    )
    max_body_bytes: int = Field(default=65_536, ge=1, description="The longest request body that is read.")
    faults: tuple[Fault, ...] = ()


C = TypeVar("C", bound=Config)


def load(model: type[C], path: Path) -> C:
    """The configuration in the file.

    Raises:
        ConfigError: It is not there, is not YAML, or does not fit the model; unknown keys do not fit.
    """
    try:
        data: object = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(
            f"cannot read the configuration {path}: {error.strerror}; set SLIPWAY_CONFIG to a file such as envs/dev.yaml"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds a {type(data).__name__}; it must hold keys and values")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        wrong = "; ".join(f"{_where(item['loc'])}: {item['msg']}" for item in error.errors(include_url=False))
        known = ", ".join(sorted(model.model_fields))
        raise ConfigError(f"{path} cannot be used: {wrong} (the keys are: {known})") from None


def _where(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "the file"
