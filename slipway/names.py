"""What things are called in the cluster and in the engine; agreed once, used everywhere."""

from __future__ import annotations

SYSTEM = "slipway-system"
ARGOCD = "argocd"
MONITORING = "monitoring"
LOCAL = "local"
ADMISSION = "slipway-admission"

# The Git server, as everything inside the cluster reaches it.
GIT = f"http://git.{SYSTEM}.svc.cluster.local"

# The gateway's node port: the one port of the node that the host maps.
GATEWAY_NODE_PORT = 30080
PREFERRED_HTTP_PORT = 8080
PREFERRED_REGISTRY_PORT = 5001

# The service whose page is the front door of an environment.
FRONT = "storefront"

OWNER_LABEL = "slipway.dev/owner"
INSTANCE_LABEL = "slipway.dev/instance"
ENVIRONMENT_LABEL = "slipway.dev/environment"
TIER_LABEL = "slipway.dev/tier"
OWNER = "slipway"

# The first part of the names that images of the inner loop have.
LIVE_IMAGES = f"{OWNER}-live"


def repository(name: str) -> str:
    """The address of a Git repository inside the cluster."""
    return f"{GIT}/{name}.git"


def migration(service: str) -> str:
    """What the pods of a service's migrations are called, as the chart labels them."""
    return f"{service}-migrate"


def approved(environment: str) -> str:
    """The list of the images that an environment admits."""
    return f"approved-{environment}"


def host_name(name: str, environment: str | None = None) -> str:
    """The host name under which the gateway serves a service of an environment, or a part of the platform."""
    return f"{name}.{environment}.localhost" if environment else f"{name}.localhost"


def url(name: str, *, port: int, environment: str | None = None) -> str:
    """The URL of a service of an environment, or of a part of the platform, on the host."""
    return f"http://{host_name(name, environment)}:{port}"
