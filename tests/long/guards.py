"""Taking a guard of a real instance away, and putting it back whatever happens; and whether everything is as it was."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from slipway import admission, applications, gitserver, names, shell, toolbox
from slipway.kube import NOT_YET
from slipway.waiting import Pending, Ready, wait_for
from tests import unguarded
from tests.e2e.conftest import Instance

Removed = Callable[[Instance], AbstractContextManager[object]]

RIGHTS = "rbac.authorization.k8s.io/v1"

# Where the Git server keeps the code of its hooks, and what it got it from.
CODE, GIVEN = "/tmp/slipway", f"/etc/git-server/{gitserver.CODE}"

# Where nothing is but the hook that judges: what lands by mistake is neither told to anybody nor written down.
QUIET = "/tmp/quiet"

# Seconds until Argo CD has taken back what was done while nobody healed.
BACK_TIMEOUT = 180.0


@dataclass(frozen=True)
class Guard:
    """One thing that keeps the process from being gone around.

    Attributes:
        name: What it is.
        how: How it is removed, in words.
        removed: Removes it while a block runs; puts it back at the end.
        red: The tests that must notice, each a single case.
        by_push: Whether what they try lands at the Git server.
    """

    name: str
    how: str
    removed: Removed
    red: tuple[str, ...]
    by_push: bool = False


# --- the Git server


def inside(instance: Instance, *argv: str, stdin: str | bytes = "") -> str:
    """What a program printed in the Git server's pod."""
    settings = instance.settings
    kubectl = [toolbox.get(settings, "kubectl"), "--kubeconfig", settings.kubeconfig, "--context", settings.context]
    words = ["--namespace", names.SYSTEM, "exec", "--stdin", "deployment/git", "--container", "git", "--", *argv]
    return shell.run([*kubectl, *words], stdin=stdin, timeout=60).stdout.strip()


def references(instance: Instance) -> dict[str, dict[str, str]]:
    """Every reference of every repository, with what it names."""
    found: dict[str, dict[str, str]] = {repository: {} for repository in gitserver.repositories(instance.settings)}
    each = 'git --git-dir "/srv/git/$name.git" for-each-ref --format="$name %(objectname) %(refname)" || exit 1'
    listed = inside(instance, "sh", "-c", f'for name in "$@"; do {each}; done', "sh", *found)
    for line in listed.splitlines():
        repository, sha, name = line.split(" ", 2)
        found[repository][name] = sha
    return found


def _put_back(instance: Instance, before: Mapping[str, Mapping[str, str]]) -> None:
    for repository, now in references(instance).items():
        then = before[repository]
        lines = [f"update {name} {sha}" for name, sha in then.items() if now.get(name) != sha]
        lines += [f"delete {name}" for name in now if name not in then]
        if lines:
            words = ["git", "--git-dir", f"/srv/git/{repository}.git", "update-ref", "--stdin"]
            inside(instance, *words, stdin="\n".join(lines) + "\n")


@contextmanager
def quiet(instance: Instance) -> Generator[Callable[[], None]]:
    """Let whatever lands at the Git server while this block runs move nothing, and be gone afterwards.

    The hook that judges stays; the one that tells Argo CD and the runner is left out. What the block is given lets what has
    landed be gone at once: a second try would find it there.
    """
    before = references(instance)
    inside(instance, "sh", "-c", f"rm -rf {QUIET} && mkdir {QUIET} && ln -s /etc/git-server/pre-receive {QUIET}/pre-receive")
    hooks = _hooks_path(instance)
    try:
        with _hooks(instance, QUIET):
            try:
                yield lambda: _put_back(instance, before)
            finally:
                _put_back(instance, before)
    finally:
        inside(instance, "rm", "-rf", QUIET)
        assert _hooks_path(instance) == hooks
        assert references(instance) == before


@contextmanager
def _hooks(instance: Instance, folder: str) -> Generator[None]:
    had = _hooks_path(instance)
    _set_hooks_path(instance, folder)
    try:
        yield
    finally:
        _set_hooks_path(instance, had)


def _hooks_path(instance: Instance) -> str:
    return inside(instance, "git", "config", "--file", "/tmp/gitconfig", "core.hooksPath")


def _set_hooks_path(instance: Instance, folder: str) -> None:
    inside(instance, "git", "config", "--file", "/tmp/gitconfig", "core.hooksPath", folder)


def no_hook(instance: Instance) -> AbstractContextManager[None]:
    """The Git server without its hook."""
    return _hooks(instance, "/var/empty")


def rules(*dropped: str) -> Removed:
    """The Git server with a hook that does not know these rules."""

    @contextmanager
    def removed(instance: Instance) -> Generator[None]:
        before = code(instance)
        packed = unguarded.code(dropped, base64.b64decode(inside(instance, "base64", GIVEN)))
        try:
            _install(instance, f"cat > {CODE}.zip; from={CODE}.zip", packed)
            assert code(instance) != before
            yield
        finally:
            _install(instance, f"from={GIVEN}")
            assert code(instance) == before, "the Git server does not judge as before: ./invoke up makes its pod anew"

    return removed


def _install(instance: Instance, first: str, stdin: bytes = b"") -> None:
    """Unpack the hooks' code beside the one there is, and let it take its place once it can be imported."""
    there = f"import sys; sys.path.insert(0, '{CODE}.new'); import slipway.receive"
    inside(
        instance,
        "sh",
        "-c",
        f"set -e; {first}; rm -rf {CODE}.new {CODE}.old; python3 -I -m zipfile -e $from {CODE}.new; "
        f'python3 -I -m compileall -q {CODE}.new; python3 -I -c "{there}"; '
        f"mv {CODE} {CODE}.old; mv {CODE}.new {CODE}; rm -rf {CODE}.old {CODE}.zip",
        stdin=stdin,
    )


def code(instance: Instance) -> str:
    """The hash of the code that judges pushes, and where hooks are looked for."""
    listed = inside(instance, "sh", "-c", f"cd {CODE} && find . -name '*.py' -print0 | sort -z | xargs -0 sha256sum")
    return hashlib.sha256(listed.encode()).hexdigest() + " " + _hooks_path(instance)


# Where a front door stands that asks nobody who they are, beside the one that does.
OPEN, OPEN_PORT = "/tmp/open", 8081


@contextmanager
def passwordless(instance: Instance) -> Generator[None]:
    """The Git server with a front door that asks for no password."""
    changes = ["/auth_basic/d", f"s|listen 8080|listen {OPEN_PORT}|", f"s|/tmp/nginx.pid|{OPEN}.pid|"]
    words = " ".join(f"-e '{change}'" for change in changes)
    # It goes into the background, and must not hold what the one who started it listens to.
    start = f"nginx -e stderr -c {OPEN}.conf > {OPEN}.log 2>&1 < /dev/null || {{ cat {OPEN}.log >&2; exit 1; }}"
    inside(instance, "sh", "-c", f"sed {words} /etc/git-server/nginx.conf > {OPEN}.conf; {start}")
    service = instance.kube.get("Service", "git", namespace=names.SYSTEM)
    assert service
    ports = [{**port, "targetPort": OPEN_PORT} for port in service["spec"]["ports"]]
    try:
        with patched(instance, "Service", "git", {"spec": {"ports": ports}}, api_version="v1", namespace=names.SYSTEM):
            yield
    finally:
        inside(instance, "sh", "-c", f"nginx -e stderr -c {OPEN}.conf -s stop; rm -f {OPEN}.conf {OPEN}.pid {OPEN}.log")


# --- the cluster


@contextmanager
def deleted(
    instance: Instance, kind: str, name: str, *, api_version: str, namespace: str | None = None
) -> Generator[Mapping[str, Any]]:
    """The cluster without one of its objects."""
    kube = instance.kube
    had = kube.get(kind, name, namespace=namespace, api_version=api_version)
    assert had, f"there is no {kind} {name} to remove"
    kept = {name: value for name, value in had["metadata"].items() if name in ("name", "namespace", "labels", "annotations")}
    again = {**{key: value for key, value in had.items() if key != "status"}, "metadata": kept}
    try:
        assert kube.delete(kind, name, namespace=namespace, api_version=api_version)
        yield again
    finally:
        if kube.get(kind, name, namespace=namespace, api_version=api_version) is None:
            assert kube.create(again)


@contextmanager
def patched(
    instance: Instance, kind: str, name: str, change: Mapping[str, Any], *, api_version: str, namespace: str | None = None
) -> Generator[None]:
    """The cluster with one object changed: of `change`, every part of its first level that it names is put back whole."""
    kube = instance.kube
    had = kube.get(kind, name, namespace=namespace, api_version=api_version)
    assert had, f"there is no {kind} {name} to change"
    then = {part: {key: (had.get(part) or {}).get(key) for key in keys} for part, keys in change.items()}
    try:
        kube.patch(kind, name, change, namespace=namespace, api_version=api_version)
        yield
    finally:
        kube.patch(kind, name, then, namespace=namespace, api_version=api_version)


def without_policy(name: str) -> Removed:
    """Admission without one of its bindings."""
    return lambda instance: deleted(
        instance, "ValidatingAdmissionPolicyBinding", f"slipway-{name}", api_version=admission.API_VERSION
    )


def granted(role: str, rights: str, namespace: str = "") -> Removed:
    """The cluster with a role that has these rights beside its own."""

    @contextmanager
    def removed(instance: Instance) -> Generator[None]:
        kind = "RoleBinding" if namespace else "ClusterRoleBinding"
        place = {"namespace": namespace} if namespace else {}
        made = {
            "apiVersion": RIGHTS,
            "kind": kind,
            "metadata": {"name": "slipway-unguarded", **place},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": rights},
            "subjects": [{"kind": "ServiceAccount", "name": role, "namespace": names.SYSTEM}],
        }
        try:
            assert instance.kube.create(made)
            yield
        finally:
            instance.kube.delete(kind, "slipway-unguarded", namespace=namespace or None, api_version=RIGHTS)

    return removed


# --- Argo CD


def project(name: str, **spec: Any) -> Removed:
    """Argo CD with a project that lets more through."""
    return lambda instance: patched(
        instance, "AppProject", name, {"spec": spec}, api_version=applications.API_VERSION, namespace=names.ARGOCD
    )


def overriding(*lines: str) -> Removed:
    """Argo CD with roles that may do more."""

    @contextmanager
    def removed(instance: Instance) -> Generator[None]:
        kept = instance.kube.get("ConfigMap", "argocd-rbac-cm", namespace=names.ARGOCD)
        assert kept
        data = {"policy.csv": kept["data"]["policy.csv"] + "".join(f"{line}\n" for line in lines)}
        with patched(instance, "ConfigMap", "argocd-rbac-cm", {"data": data}, api_version="v1", namespace=names.ARGOCD):
            try:
                yield
            finally:
                instance.kube.delete("AppProject", "mine", namespace=names.ARGOCD, api_version=applications.API_VERSION)

    return removed


def unhealed(tier: str) -> Removed:
    """Argo CD as it is when nobody asks it to undo what was done by hand."""

    @contextmanager
    def removed(instance: Instance) -> Generator[None]:
        before = workloads(instance)
        made = instance.kube.get("ApplicationSet", tier, namespace=names.ARGOCD, api_version=applications.API_VERSION)
        assert made
        template = made["spec"]["template"]
        automated = {**template["spec"]["syncPolicy"]["automated"], "selfHeal": False}
        told = {**template["spec"], "syncPolicy": {**template["spec"]["syncPolicy"], "automated": automated}}
        change = {"spec": {"template": {**template, "spec": told}}}
        where: dict[str, Any] = {"api_version": applications.API_VERSION, "namespace": names.ARGOCD}
        with patched(instance, "ApplicationSet", tier, change, **where):
            _wait_healing(instance, tier, healed=False)
            yield
        _wait_healing(instance, tier, healed=True)

        def same() -> Ready[None] | Pending:
            now = workloads(instance)
            return Ready(None) if now == before else Pending(f"{sorted(now.items() ^ before.items())}")

        wait_for("Argo CD to undo what was done while it did not heal", same, timeout=BACK_TIMEOUT, tolerate=NOT_YET)

    return removed


def _wait_healing(instance: Instance, tier: str, *, healed: bool) -> None:
    def told() -> Ready[None] | Pending:
        others = [
            item["metadata"]["name"]
            for item in instance.kube.list("Application", namespace=names.ARGOCD, api_version=applications.API_VERSION)
            if item["spec"]["project"] == tier and item["spec"]["syncPolicy"]["automated"].get("selfHeal", False) is not healed
        ]
        return Pending(f"{', '.join(others)} are not told") if others else Ready(None)

    wait_for(f"the applications of {tier} to be {'healed' if healed else 'left alone'}", told, timeout=60.0, tolerate=NOT_YET)


# --- the state of the whole


def workloads(instance: Instance) -> dict[str, str]:
    """What every environment has of each kind that runs, its replicas and its images."""
    found: dict[str, str] = {}
    for kind in ("Deployment", "StatefulSet"):
        for item in instance.kube.list(kind, api_version="apps/v1"):
            meta, spec = item["metadata"], item["spec"]
            images = [one["image"] for one in spec["template"]["spec"]["containers"]]
            found[f"{meta['namespace']}/{kind}/{meta['name']}"] = f"{spec.get('replicas')} {images}"
    return found


# Everything that guards, by kind: API version, and the parts of an object that say what it does.
GUARDING: Sequence[tuple[str, str, tuple[str, ...]]] = (
    ("ValidatingAdmissionPolicy", admission.API_VERSION, ("spec",)),
    ("ValidatingAdmissionPolicyBinding", admission.API_VERSION, ("spec",)),
    ("ClusterRole", RIGHTS, ("rules",)),
    ("ClusterRoleBinding", RIGHTS, ("roleRef", "subjects")),
    ("Role", RIGHTS, ("rules",)),
    ("RoleBinding", RIGHTS, ("roleRef", "subjects")),
    ("AppProject", applications.API_VERSION, ("spec",)),
    ("ApplicationSet", applications.API_VERSION, ("spec",)),
    ("Application", applications.API_VERSION, ("spec",)),
    ("ConfigMap", "v1", ("data",)),
    ("Service", "v1", ("spec",)),
)


def state(instance: Instance) -> dict[str, Any]:
    """Everything that a removed guard, or a test that went red without it, could have left changed."""
    found: dict[str, Any] = dict(workloads(instance))
    for kind, version, parts in GUARDING:
        for item in instance.kube.list(kind, api_version=version):
            meta = item["metadata"]
            found[f"{kind} {meta.get('namespace', '')}/{meta['name']}"] = {part: _kept(item.get(part)) for part in parts}
    for repository, refs in references(instance).items():
        found.update({f"{repository} {name}": sha for name, sha in refs.items()})
    pushes = inside(instance, "sha256sum", "/srv/git/app.git/slipway/pushes.jsonl")
    return {**found, "the pushes": pushes, "the hook": code(instance)}


def _kept(part: Any) -> Any:
    """A part of an object without the addresses that a Service is given anew when it is made again."""
    given = ("clusterIP", "clusterIPs")
    return {key: value for key, value in part.items() if key not in given} if isinstance(part, Mapping) else part


def departures(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterable[str]:
    """What is not as it was."""
    return sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
