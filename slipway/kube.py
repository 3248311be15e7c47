"""The one door to Kubernetes: a client bound to one kubeconfig and context, and pure judgements on what it returns."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import kubernetes
import urllib3.exceptions
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import ConflictError, DynamicApiError, NotFoundError, ResourceNotFoundError

from slipway.errors import SlipwayError
from slipway.waiting import Failed, Pending, Ready

Object = Mapping[str, Any]

FIELD_MANAGER = "slipway"

# What a server that starts, or restarts, may answer: a wait tolerates these until its deadline.
NOT_YET: tuple[type[Exception], ...] = (
    DynamicApiError,
    ResourceNotFoundError,
    urllib3.exceptions.HTTPError,
    ConnectionError,
    TimeoutError,
)

# Objects that others stand on go first; within one rank the order does not matter.
# A Secret that asks for an account's token is deleted when the account is not there yet.
# A pod whose claim, configuration or right is not there yet is tried again later, and later costs seconds.
_RANKS = {
    **dict.fromkeys(("Namespace", "CustomResourceDefinition"), 0),
    **dict.fromkeys(("ServiceAccount", "StorageClass", "ClusterRole", "Role"), 1),
    **dict.fromkeys(("Secret", "ConfigMap", "PersistentVolumeClaim", "ClusterRoleBinding", "RoleBinding"), 2),
}
_LAST_RANK = 3

_APPLY_THREADS = 8


# The cluster has no such kind (yet): its definition is not there.
UnknownKind = ResourceNotFoundError


class KubeError(SlipwayError):
    """The API server refused a request."""


class Kube:
    """Requests to one cluster.

    Args:
        kubeconfig: The file that holds the credentials.
        context: The context to use in it; never the current one.
    """

    def __init__(self, kubeconfig: Path, context: str) -> None:
        self.kubeconfig, self.context = kubeconfig, context
        self._discovering = threading.Lock()

    @cached_property
    def _client(self) -> Any:
        api = kubernetes.config.new_client_from_config(str(self.kubeconfig), context=self.context)
        api.configuration.retries = False  # retrying is the business of whoever waits
        return api

    @cached_property
    def _dynamic(self) -> Any:
        return DynamicClient(self._client, cache_file=str(self.kubeconfig.with_suffix(".discovery.json")))

    def _resource(self, kind: str, api_version: str) -> Any:
        with self._discovering:  # the library forgets and finds kinds anew without minding other threads
            return self._dynamic.resources.get(kind=kind, api_version=api_version)

    def healthy(self, *, timeout: float = 2.0) -> bool:
        """Whether the API server says that it is ready, within `timeout` seconds."""
        try:
            client = self._client
            request = client.param_serialize("GET", "/readyz", auth_settings=["BearerToken"])
            return client.call_api(*request, _request_timeout=timeout).status == 200
        except (urllib3.exceptions.HTTPError, OSError, kubernetes.config.ConfigException, kubernetes.client.ApiException):
            return False

    def get(self, kind: str, name: str, *, namespace: str | None = None, api_version: str = "v1") -> dict[str, Any] | None:
        """The object, or None when there is none."""
        try:
            return self._resource(kind, api_version).get(name=name, namespace=namespace).to_dict()
        except NotFoundError:
            return None

    def list(
        self, kind: str, *, namespace: str | None = None, labels: str = "", api_version: str = "v1"
    ) -> Sequence[dict[str, Any]]:
        """The objects of a kind; in every namespace by default. Each carries its kind and API version."""
        found = self._resource(kind, api_version).get(namespace=namespace, label_selector=labels or None).to_dict()
        return [{"apiVersion": api_version, "kind": kind, **item} for item in found["items"]]

    def apply(self, objects: Iterable[Object]) -> None:
        """Make the cluster hold these objects, by server-side apply, as the owner of every field they name.

        Raises:
            KubeError: The API server refused one; the message names it and carries the reason.
        """
        ranked: dict[int, list[Object]] = {}
        for item in objects:
            ranked.setdefault(_RANKS.get(item["kind"], _LAST_RANK), []).append(item)
        with ThreadPoolExecutor(_APPLY_THREADS) as pool:
            for rank in sorted(ranked):
                for _ in pool.map(self._apply_one, ranked[rank]):
                    pass

    def _apply_one(self, item: Object) -> None:
        meta = item["metadata"]
        try:
            self._resource(item["kind"], item["apiVersion"]).server_side_apply(
                body=dict(item),
                name=meta["name"],
                namespace=meta.get("namespace"),
                field_manager=FIELD_MANAGER,
                force_conflicts=True,
            )
        except DynamicApiError as error:
            raise KubeError(f"{describe(item)} was refused: {_reason(error)}") from error

    def create(self, item: Object) -> dict[str, Any] | None:
        """The object as created, or None when one of that name is there already.

        Raises:
            KubeError: The API server refused it.
        """
        try:
            resource = self._resource(item["kind"], item["apiVersion"])
            return resource.create(body=dict(item), namespace=item["metadata"].get("namespace")).to_dict()
        except ConflictError:
            return None
        except DynamicApiError as error:
            raise KubeError(f"{describe(item)} was refused: {_reason(error)}") from error

    def patch(
        self, kind: str, name: str, change: Object, *, namespace: str | None = None, api_version: str = "v1"
    ) -> dict[str, Any]:
        """The object after a merge patch.

        Raises:
            KubeError: The API server refused it.
        """
        try:
            return (
                self._resource(kind, api_version)
                .patch(name=name, namespace=namespace, body=dict(change), content_type="application/merge-patch+json")
                .to_dict()
            )
        except DynamicApiError as error:
            raise KubeError(f"{kind} {name} was not changed: {_reason(error)}") from error

    def delete(self, kind: str, name: str, *, namespace: str | None = None, api_version: str = "v1") -> bool:
        """Whether there was such an object; it is on its way out now."""
        try:
            self._resource(kind, api_version).delete(name=name, namespace=namespace, body={"propagationPolicy": "Background"})
        except NotFoundError:
            return False
        return True

    def logs(self, pod: str, *, namespace: str, container: str | None = None, tail: int = 200, previous: bool = False) -> str:
        """The last lines of a container's log; empty when it has none yet."""
        core = kubernetes.client.CoreV1Api(self._client)
        try:
            return core.read_namespaced_pod_log(
                pod, namespace, container=container, tail_lines=tail, previous=previous, _preload_content=True
            )
        except kubernetes.client.ApiException:
            return ""


def describe(item: Object) -> str:
    """The object's kind, namespace and name, for a person."""
    meta = item["metadata"]
    namespace = f"{meta['namespace']}/" if meta.get("namespace") else ""
    return f"{item['kind']} {namespace}{meta['name']}"


def rollout(workload: Object | None) -> Ready[Object] | Pending | Failed:
    """Whether a Deployment or StatefulSet runs its newest generation with every replica ready.

    A crash or a slow start is pending: only the deadline of whoever waits turns it into a failure.
    """
    if workload is None:
        return Pending("it does not exist yet")
    meta, spec, status = workload["metadata"], workload["spec"], workload.get("status") or {}
    wanted = spec.get("replicas", 1)
    if (status.get("observedGeneration") or 0) < meta.get("generation", 0):
        return Pending(f"generation {meta.get('generation')} is not observed yet")
    counts = {name: status.get(f"{name}Replicas") or 0 for name in ("updated", "ready", "available")}
    total = status.get("replicas") or 0
    if workload["kind"] == "StatefulSet" and status.get("updateRevision") == status.get("currentRevision"):
        counts["updated"] = max(counts["updated"], status.get("currentReplicas") or 0)
    lacking = [f"{count}/{wanted} {name}" for name, count in counts.items() if count < wanted]
    if lacking:
        return Pending(", ".join(lacking))
    if total > wanted:
        return Pending(f"{total - wanted} old replica(s) still there")
    return Ready(workload)


def ready(item: Object | None, condition: str = "Ready") -> Ready[Object] | Pending:
    """Whether an object has a condition that is true."""
    if item is None:
        return Pending("it does not exist yet")
    conditions = (item.get("status") or {}).get("conditions") or []
    for found in conditions:
        if found["type"] == condition:
            if found["status"] == "True":
                return Ready(item)
            return Pending(
                f"{condition} is {found['status']}: {found.get('message') or found.get('reason') or 'no reason given'}"
            )
    return Pending(f"it has no condition {condition} yet")


def _reason(error: Any) -> str:
    try:
        return json.loads(error.body)["message"]
    except (ValueError, KeyError, TypeError):
        return str(error).splitlines()[0]
