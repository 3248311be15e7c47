"""The secrets of the stores: their passwords in each environment, and the addresses with them for the services that use them."""

from __future__ import annotations

from collections.abc import Iterable

from slipway.credentials import Secrets
from slipway.kube import Object, secret
from slipway.settings import Settings


def manifests(settings: Settings, environments: Iterable[str], secrets: Secrets) -> list[Object]:
    """The Secrets of every store and its clients, by environment; their namespaces must be there.

    Args:
        settings: The instance's.
        environments: Which environments the instance has.
        secrets: The instance's.
    """
    objects: list[Object] = []
    for environment in environments:
        for store in settings.stores.values():
            passwords = {key: secrets.stores[f"{environment}/{store.name}/{key}"] for key in store.passwords}
            objects.append(secret(store.name, environment, passwords))
            objects += [secret(f"{client}-{store.name}", environment, store.told(client, passwords)) for client in store.clients]
    return objects
