"""The one door to Kubernetes: a client bound to one kubeconfig and context, and pure judgements on what it returns."""

from __future__ import annotations

import base64
import json
import math
import threading
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import kubernetes
import urllib3.exceptions
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import ConflictError, DynamicApiError, NotFoundError, ResourceNotFoundError

from slipway import names
from slipway.errors import SlipwayError
from slipway.waiting import Failed, Pending, Ready

Object = Mapping[str, Any]

FIELD_MANAGER = "slipway"

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

# Bytes of a log that are taken at a time.
_LOG_PART = 1 << 16

# Seconds: for a connection, and between two pieces of an answer. A server that hangs is noticed by every request by then.
CONNECT_TIMEOUT, READ_TIMEOUT = 5.0, 30.0


# The cluster has no such kind (yet): its definition is not there.
UnknownKind = ResourceNotFoundError


class KubeError(SlipwayError):
    """The API server refused a request."""


class Conflict(KubeError):
    """Somebody else changed the object since it was read."""


class Away(KubeError):
    """The API server does not answer what it is asked, or does not yet answer as it will."""


# What a server that starts, or restarts, may answer: a wait tolerates these until its deadline.
NOT_YET: tuple[type[Exception], ...] = (
    Away,
    DynamicApiError,
    ResourceNotFoundError,
    urllib3.exceptions.HTTPError,
    ConnectionError,
    TimeoutError,
)


class _Client(kubernetes.client.ApiClient):
    """A client none of whose requests waits for ever, whichever part of the library makes it."""

    def call_api(
        self,
        method: Any,
        url: Any,
        header_params: Any = None,
        body: Any = None,
        post_params: Any = None,
        _request_timeout: Any = None,
    ) -> Any:
        timeout = _request_timeout or (CONNECT_TIMEOUT, READ_TIMEOUT)
        return super().call_api(method, url, header_params, body, post_params, _request_timeout=timeout)


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
        configuration: Any = kubernetes.client.Configuration()
        kubernetes.config.load_kube_config(str(self.kubeconfig), context=self.context, client_configuration=configuration)
        # The instance's API server listens on this machine: no proxy of the user's leads there. The library reads the proxy from
        # the environment in two places, and this alone is minded by both.
        configuration.no_proxy = "*"
        configuration.retries = False  # retrying is the business of whoever waits; read when the client is made
        return _Client(configuration)

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
        """The object, or None when there is none.

        Raises:
            Away: The API server does not answer.
        """
        with _asking():
            try:
                return self._resource(kind, api_version).get(name=name, namespace=namespace).to_dict()
            except NotFoundError:
                return None

    def list(
        self, kind: str, *, namespace: str | None = None, labels: str = "", api_version: str = "v1"
    ) -> Sequence[dict[str, Any]]:
        """The objects of a kind; in every namespace by default. Each carries its kind and API version.

        Raises:
            Away: The API server does not answer.
            UnknownKind: The cluster has no such kind.
        """
        with _asking():
            found = self._resource(kind, api_version).get(namespace=namespace, label_selector=labels or None).to_dict()
        return [{"apiVersion": api_version, "kind": kind, **item} for item in found["items"]]

    def apply(self, objects: Iterable[Object]) -> None:
        """Make the cluster hold these objects, by server-side apply, as the owner of every field they name.

        Raises:
            KubeError: The API server refused one, or did not answer; the message names it and carries the reason.
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
        with _writing(describe(item)):
            self._resource(item["kind"], item["apiVersion"]).server_side_apply(
                body=dict(item),
                name=meta["name"],
                namespace=meta.get("namespace"),
                field_manager=FIELD_MANAGER,
                force_conflicts=True,
            )

    def create(self, item: Object, *, dry_run: bool = False) -> dict[str, Any] | None:
        """The object as created, or None when one of that name is there already.

        Args:
            item: The object.
            dry_run: Only ask, with all that the API server would ask; nothing is made.

        Raises:
            KubeError: The API server refused it, or did not answer.
        """
        with _writing(describe(item)):
            try:
                resource = self._resource(item["kind"], item["apiVersion"])
                namespace = item["metadata"].get("namespace")
                return resource.create(body=dict(item), namespace=namespace, **_dry(dry_run)).to_dict()
            except ConflictError:
                return None

    def patch(
        self,
        kind: str,
        name: str,
        change: Object,
        *,
        namespace: str | None = None,
        api_version: str = "v1",
        subresource: str = "",
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """The object after a merge patch.

        Args:
            kind: The object's kind.
            name: The object's name.
            change: What becomes of it. With a resourceVersion in its metadata it only changes what has that version.
            namespace: The object's namespace.
            api_version: The kind's.
            subresource: The part of the object that is changed ("scale", "ephemeralcontainers").
            dry_run: Only ask, with all that the API server would ask; nothing is changed.

        Raises:
            Conflict: The object is not of that version any more.
            KubeError: The API server refused it, or did not answer.
        """
        with _writing(f"the change of {kind} {name}"):
            resource = self._resource(kind, api_version)
            options = {"content_type": "application/merge-patch+json", **_dry(dry_run)}
            part = resource.subresources[subresource] if subresource else resource
            return part.patch(name=name, namespace=namespace, body=dict(change), **options).to_dict()

    def delete(self, kind: str, name: str, *, namespace: str | None = None, api_version: str = "v1") -> bool:
        """Whether there was such an object; it is on its way out now.

        Raises:
            Away: The API server does not answer.
        """
        with _asking():
            try:
                self._resource(kind, api_version).delete(name=name, namespace=namespace, body={"propagationPolicy": "Background"})
            except NotFoundError:
                return False
        return True

    def logs(self, pod: str, *, namespace: str, container: str | None = None, tail: int = 200, previous: bool = False) -> str:
        """The last lines of a container's log; empty when it has none yet.

        Raises:
            Away: The API server does not answer.
        """
        core = kubernetes.client.CoreV1Api(self._client)
        with _asking():
            try:
                return core.read_namespaced_pod_log(
                    pod, namespace, container=container, tail_lines=tail, previous=previous, _preload_content=True
                )
            except kubernetes.client.ApiException:
                return ""

    def log_lines(
        self, pod: str, *, namespace: str, container: str, since: float, follow: bool = False, quiet: float = READ_TIMEOUT
    ) -> Generator[bytes]:
        """What a container said, line by line, without the line breaks.

        Args:
            pod: The pod.
            namespace: The pod's namespace.
            container: The container.
            since: Seconds ago at which the first line may have been said.
            follow: Go on with what it says from now on, until it ends.
            quiet: Seconds without a line after which following ends.

        Raises:
            KubeError: There is no such log, or the connection broke.
        """
        core = kubernetes.client.CoreV1Api(self._client)
        options: dict[str, Any] = {"since_seconds": max(1, math.ceil(since)), "follow": follow, "_preload_content": False}
        rest = b""
        try:
            answer: Any = core.read_namespaced_pod_log(
                pod, namespace, container=container, _request_timeout=(CONNECT_TIMEOUT, quiet), **options
            )
            try:
                for part in answer.stream(_LOG_PART):
                    *lines, rest = (rest + part).split(b"\n")
                    yield from lines
            except urllib3.exceptions.ReadTimeoutError:
                if not follow:
                    raise
            finally:
                answer.close()
        except (kubernetes.client.ApiException, urllib3.exceptions.HTTPError) as error:
            why = getattr(error, "reason", None) or type(error).__name__
            raise KubeError(f"the log of {namespace}/{pod} cannot be read ({why}). Look at `./invoke status`.") from error
        if rest:
            yield rest

    def execute(self, pod: str, argv: Sequence[str], *, namespace: str, container: str, timeout: float = READ_TIMEOUT) -> str:
        """What a program prints that is run in a container.

        Raises:
            KubeError: It cannot be run, failed, or did not end in time; the message has its last words.
        """
        what = f"{argv[0]} in {namespace}/{pod}"
        try:
            # The library puts its web socket into the client for a while: one of its own, for others may be asking.
            core = kubernetes.client.CoreV1Api(Kube(self.kubeconfig, self.context)._client)
            channels = {"stdout": True, "stderr": True, "stdin": False, "tty": False}
            ask: Any = core.connect_get_namespaced_pod_exec
            running: Any = kubernetes.stream.stream(
                ask, pod, namespace, command=list(argv), container=container, _preload_content=False, **channels
            )
            with closing(running), _released(running.sock):
                running.run_forever(timeout=timeout)
                if running.is_open():
                    raise KubeError(f"{what} did not end within {timeout:g} s.")
                out, err, failed = running.read_stdout(), running.read_stderr(), _failed(running)
        except (kubernetes.client.ApiException, urllib3.exceptions.HTTPError, OSError) as error:
            why = str(getattr(error, "reason", None) or error).splitlines()[0].partition(" -+-+- ")[0]
            raise KubeError(f"{what} cannot be run: {why}. Look at `./invoke status`.") from error
        if failed:
            raise KubeError(f"{what} failed: {(str(err).strip() or failed).splitlines()[-1]}")
        return str(out)

    def usage(self, node: str) -> dict[str, Any]:
        """What the kubelet of a node says that the node, its system and its pods use, in its own words.

        Raises:
            KubeError: There is no answer.
        """
        core = kubernetes.client.CoreV1Api(self._client)
        try:
            answer: Any = core.connect_get_node_proxy_with_path(node, "stats/summary", _preload_content=False)
            return json.loads(answer.data)
        except (kubernetes.client.ApiException, urllib3.exceptions.HTTPError) as error:
            raise KubeError(f"node {node} does not say what it uses. Look at `./invoke status`.") from error


@contextmanager
def _asking() -> Generator[None]:
    """Turn what the library raises while something is asked for into an error for the user."""
    try:
        yield
    except DynamicApiError as error:
        raise Away(f"the API server refused to answer: {_reason(error)}. Look at `./invoke status`, and repeat.") from error
    except urllib3.exceptions.HTTPError as error:
        why = f"the API server does not answer ({type(error).__name__})"
        raise Away(f"{why}. It may still be starting: look at `./invoke status`, and repeat.") from error


@contextmanager
def _writing(what: str) -> Generator[None]:
    """Turn what the library raises while something is written into an error for the user."""
    try:
        yield
    except ConflictError as error:
        raise Conflict(f"{what} was refused: {_reason(error)}") from error
    except DynamicApiError as error:
        raise KubeError(f"{what} was refused: {_reason(error)}") from error
    except ResourceNotFoundError as error:
        raise KubeError(f"{what} was not written: the cluster does not know its kind. Run `./invoke up`.") from error
    except urllib3.exceptions.HTTPError as error:
        why = f"the API server did not answer ({type(error).__name__})"
        raise KubeError(f"{what} was not written: {why}. Look at `./invoke status`, and repeat.") from error


def _failed(running: Any) -> str:
    """How a program that has ended in a container failed; empty when it did not."""
    try:
        return f"it ended with {running.returncode}" if running.returncode else ""
    except ValueError as error:  # the library takes whatever the server says for a number
        return str(error).partition(": ")[2].strip("'")
    except (KeyError, IndexError, TypeError):
        return "the connection broke before it had ended"


def _dry(dry_run: bool) -> dict[str, str]:
    return {"dry_run": "All"} if dry_run else {}


def describe(item: Object) -> str:
    """The object's kind, namespace and name, for a person."""
    meta = item["metadata"]
    namespace = f"{meta['namespace']}/" if meta.get("namespace") else ""
    return f"{item['kind']} {namespace}{meta['name']}"


def secret(name: str, namespace: str, content: Mapping[str, str]) -> Object:
    """A Secret of ours with this content."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": {names.OWNER_LABEL: names.OWNER}},
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in content.items()},
    }


def rollout(workload: Object | None) -> Ready[Object] | Pending | Failed:
    """Whether a Deployment, StatefulSet or DaemonSet runs its newest generation with every replica ready.

    A crash or a slow start is pending: only the deadline of whoever waits turns it into a failure.
    """
    if workload is None:
        return Pending("it does not exist yet")
    meta, spec, status = workload["metadata"], workload["spec"], workload.get("status") or {}
    wanted = spec.get("replicas", 1)
    if (status.get("observedGeneration") or 0) < meta.get("generation", 0):
        return Pending(f"generation {meta.get('generation')} is not observed yet")
    if workload["kind"] == "DaemonSet":
        count, wanted = status.get("numberReady") or 0, status.get("desiredNumberScheduled") or 0
        return Ready(workload) if count >= wanted else Pending(f"{count}/{wanted} ready")
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


@contextmanager
def _released(web_socket: Any) -> Generator[None]:
    """Close a web socket's own socket after the block: once the server has closed its side, the library leaves it open."""
    try:
        yield
    finally:
        web_socket.shutdown()
