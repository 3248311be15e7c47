"""What is wrong in plain words, and what is kept of it."""

from __future__ import annotations

import stat
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import urllib3.exceptions
import yaml

from slipway import bundle
from slipway.settings import Settings
from tests.unit.fake_cluster import FakeKube, application, pod, waiting, workload

GONE = urllib3.exceptions.ProtocolError("connection reset")


def container(**state: Any) -> list[dict[str, Any]]:
    return [{"name": "main", "ready": False, "restartCount": 0, "state": state}]


def ended(exit_code: int, said: str = "", *, ago: float = 0.0) -> dict[str, Any]:
    """A container's former life."""
    at = datetime.fromtimestamp(time.time() - ago, UTC)
    return {"terminated": {"exitCode": exit_code, "message": said, "finishedAt": f"{at:%Y-%m-%dT%H:%M:%SZ}"}}


NOT_READY = [{"name": "main", "ready": False, "restartCount": 0, "state": {"running": {}}}]
UNSCHEDULED = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: too little memory"}]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({}, None),
        ({"phase": "Succeeded", "containerStatuses": NOT_READY}, None),
        ({"containerStatuses": waiting("ImagePullBackOff", "no such image")}, "container main: ImagePullBackOff no such image"),
        ({"containerStatuses": waiting("CrashLoopBackOff", exit_code=3)}, "container main: CrashLoopBackOff, last exit code 3"),
        (
            {"initContainerStatuses": waiting("CrashLoopBackOff", exit_code=0)},
            "container main: CrashLoopBackOff, last exit code 0",
        ),
        ({"phase": "Pending", "containerStatuses": waiting("ContainerCreating")}, "phase Pending"),
        ({"phase": "Pending", "containerStatuses": waiting("PodInitializing")}, "phase Pending"),
        (
            {"phase": "Pending", "containerStatuses": [], "conditions": UNSCHEDULED},
            "cannot be scheduled: 0/1 nodes: too little memory",
        ),
        ({"containerStatuses": container(terminated={"exitCode": 137})}, "container main ended with exit code 137"),
        (
            {"containerStatuses": container(terminated={"exitCode": 1, "message": 'starting\n{"message": "no such table"}\n'})},
            "container main ended with exit code 1: no such table",
        ),
        (
            {"containerStatuses": container(terminated={"exitCode": 1, "message": "Traceback\nKeyError: 7\n\n"})},
            "container main ended with exit code 1: KeyError: 7",
        ),
        ({"containerStatuses": NOT_READY}, "running, not ready"),
        ({"containerStatuses": [{**NOT_READY[0], "restartCount": 2}]}, "running, not ready (2 restarts)"),
        (
            {"containerStatuses": [{**NOT_READY[0], "restartCount": 2, "lastState": ended(3, "no such table")}]},
            "running, not ready (2 restarts, last exit code 3: no such table)",
        ),
        ({"phase": "Pending", "containerStatuses": None}, "phase Pending"),
        (
            {"phase": "Failed", "containerStatuses": None, "reason": "Evicted", "message": "The node was low on memory."},
            "phase Failed: Evicted: The node was low on memory.",
        ),
    ],
)
def test_a_pods_trouble_is_said_in_plain_words(status: dict[str, Any], words: str | None) -> None:
    assert bundle.pod_trouble(pod("catalog-1", "dev", **status)) == words


def test_a_pod_without_a_status_or_on_its_way_out_is_in_no_trouble() -> None:
    leaving = pod("catalog-1", "dev", containerStatuses=waiting("CrashLoopBackOff"))
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert bundle.pod_trouble(leaving) is None
    assert bundle.pod_trouble({"metadata": {"name": "new"}, "status": None}) is None


def event(about: str, when: str, kind: str = "Warning") -> dict[str, Any]:
    return {
        "kind": "Event",
        "type": kind,
        "metadata": {"name": about, "namespace": "dev"},
        "involvedObject": {"kind": "Pod", "namespace": "dev", "name": about},
        "reason": "Unhealthy",
        "message": "refused",
        "lastTimestamp": when,
    }


def test_the_worst_cause_comes_first(tmp_path: Path) -> None:
    kube = FakeKube(
        event("older", "2026-01-01T00:00:01Z"),
        event("newer", "2026-01-01T00:00:02Z"),
        event("usual", "2026-01-01T00:00:03Z", kind="Normal"),
        application("cart", "dev"),
        application("catalog", "dev", health="Degraded", conditions=[{"type": "SyncError", "message": "no such path"}]),
        pod("a", "dev", containerStatuses=NOT_READY),
        pod("b", "dev", containerStatuses=waiting("CrashLoopBackOff", exit_code=1)),
    )
    assert bundle.collect(tmp_path / "e", kube, waited_for="dev") == (
        "Pod dev/b: container main: CrashLoopBackOff, last exit code 1",
        "Pod dev/a: running, not ready",
        "Application argocd/catalog-dev: Degraded, Synced no such path",
        "Pod dev/newer: Unhealthy: refused",
        "Pod dev/older: Unhealthy: refused",
    )


def test_a_pod_that_crashes_again_and_again_is_a_cause_at_whatever_moment_it_is_looked_at(tmp_path: Path) -> None:
    def running(name: str, last: dict[str, Any], *, ready: bool = True) -> dict[str, Any]:
        one = {"name": "main", "ready": ready, "restartCount": 1, "state": {"running": {}}, "lastState": last}
        return pod(name, "dev", phase="Running", containerStatuses=[one])

    kube = FakeKube(
        application("catalog", "dev", health="Degraded"),
        pod("waits", "dev", containerStatuses=NOT_READY),
        running("unready", ended(2, "out of rope"), ready=False),
        running("earlier", ended(1, ago=30.0)),
        running("later", ended(1, "the tide is out", ago=5.0)),
        running("long-mended", ended(1, ago=600.0)),
        running("asked-to-end", ended(0)),
    )
    assert bundle.collect(tmp_path / "e", kube, waited_for="dev") == (
        "Pod dev/unready: running, not ready (1 restarts, last exit code 2: out of rope)",
        "Pod dev/waits: running, not ready",
        "Pod dev/later: container main runs again after exit code 1: the tide is out",
        "Pod dev/earlier: container main runs again after exit code 1",
        "Application argocd/catalog-dev: Degraded, Synced",
    )


def job(name: str, *conditions: str, **status: int) -> dict[str, Any]:
    listed = [{"type": kind, "status": "True", "reason": "BackoffLimitExceeded"} for kind in conditions]
    return {
        "kind": "Job",
        "metadata": {"name": name, "namespace": "dev"},
        "status": {**status, "conditions": [*listed, {"type": "Suspended", "status": "False"}]},
    }


def attempt(job: str, number: int, said: str, *, namespace: str = "dev") -> dict[str, Any]:
    ended = container(terminated={"exitCode": 1, "message": said})
    made = pod(f"{job}-{number}", namespace, phase="Failed", containerStatuses=ended)
    made["metadata"]["labels"]["batch.kubernetes.io/job-name"] = job
    made["metadata"]["creationTimestamp"] = f"2026-01-01T00:00:0{number}Z"
    return made


def test_a_failed_migration_comes_first_in_one_line_with_what_its_newest_attempt_said(tmp_path: Path) -> None:
    kube = FakeKube(
        pod("a", "dev", containerStatuses=waiting("CrashLoopBackOff", exit_code=1)),
        attempt("orders-migrate-1", 3, '{"message": "migration 0003 failed"}'),
        attempt("orders-migrate-1", 2, '{"message": "gave up after 120 s"}'),
        attempt("orders-migrate-1", 4, '{"message": "another one\'s"}', namespace="qa"),
        job("orders-migrate-1", "FailureTarget", "Failed", failed=2),
    )
    assert bundle.collect(tmp_path / "e", kube, waited_for="dev") == (
        "Job dev/orders-migrate-1 failed for good (BackoffLimitExceeded); "
        "container main ended with exit code 1: migration 0003 failed",
        "Pod dev/a: container main: CrashLoopBackOff, last exit code 1",
        "Pod qa/orders-migrate-1-4: container main ended with exit code 1: another one's",
    )
    assert (tmp_path / "e" / "jobs.yaml").is_file()


def test_a_job_is_in_trouble_from_its_first_failure_until_it_is_done() -> None:
    assert bundle.job_trouble(job("m"), []) is None
    assert bundle.job_trouble(job("m", failed=1), []) == "failed, and is tried again"
    assert bundle.job_trouble(job("m", "Failed"), []) == "failed for good (BackoffLimitExceeded)"  # its pod was taken away
    assert bundle.job_trouble(job("m", "Complete", failed=1), [attempt("m", 1, "not yet")]) is None
    assert bundle.job_trouble({"kind": "Job", "metadata": {"name": "m"}, "status": None}, []) is None


def test_a_cluster_that_takes_too_long_is_not_asked_any_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "SECONDS", -1.0)
    assert bundle.collect(tmp_path / "e", FakeKube(pod("a", "dev", containerStatuses=NOT_READY)), waited_for="x") == ()
    missing = (tmp_path / "e" / "missing.txt").read_text()
    assert "Pod: not asked for" in missing
    assert not list((tmp_path / "e").glob("*.yaml"))


def test_causes_are_five_at_most_and_kept_in_a_file(tmp_path: Path) -> None:
    kube = FakeKube(*(pod(f"p{number}", "dev", containerStatuses=NOT_READY) for number in range(7)))
    causes = bundle.collect(tmp_path / "e", kube, waited_for="catalog in dev")
    assert len(causes) == 5
    assert (tmp_path / "e" / "causes.txt").read_text().splitlines() == list(causes)
    assert (tmp_path / "e" / "waited-for.txt").read_text() == "catalog in dev\n"


def test_without_a_cluster_there_is_still_the_error_and_the_nodes_log(tmp_path: Path) -> None:
    def node_logs(folder: Path) -> None:
        folder.mkdir()
        (folder / "journal.log").write_text("kubelet")

    assert bundle.collect(tmp_path / "e", None, waited_for="kind failed", node_logs=node_logs) == ()
    assert (tmp_path / "e" / "node" / "journal.log").is_file()
    assert not (tmp_path / "e" / "missing.txt").exists()


@pytest.mark.parametrize("failing", ["Event", "Application", "logs"])
def test_an_api_that_fails_half_way_hides_nothing_else(tmp_path: Path, failing: str) -> None:
    crashing = pod("catalog-1", "dev", containerStatuses=waiting("CrashLoopBackOff"))
    kube = FakeKube(crashing, workload("catalog", "dev"), failing={failing: GONE})
    assert bundle.collect(tmp_path / "e", kube, waited_for="x") == ("Pod dev/catalog-1: container main: CrashLoopBackOff",)
    missing = (tmp_path / "e" / "missing.txt").read_text()
    assert "connection reset" in missing
    assert failing in missing
    assert (tmp_path / "e" / "deployments.yaml").is_file()


def test_node_logs_that_cannot_be_had_are_named(tmp_path: Path) -> None:
    def node_logs(_: Path) -> None:
        raise OSError("disk full")

    bundle.collect(tmp_path / "e", None, waited_for="x", node_logs=node_logs)
    assert (tmp_path / "e" / "missing.txt").read_text() == "node: disk full\n"


def test_no_secret_is_ever_kept(tmp_path: Path) -> None:
    secret = {"kind": "Secret", "metadata": {"name": "git-users", "namespace": "argocd"}, "data": {"password": "aHVudGVyMg=="}}
    carrying = workload("git", "slipway-system")
    carrying["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = "aHVudGVyMg=="
    carrying["metadata"]["managedFields"] = [{"manager": "slipway"}]
    bundle.collect(tmp_path / "e", FakeKube(secret, carrying), waited_for="x")
    kept = "".join(file.read_text() for file in (tmp_path / "e").rglob("*") if file.is_file())
    assert "aHVudGVyMg==" not in kept
    assert "managedFields" not in kept
    (deployment,) = yaml.safe_load_all((tmp_path / "e" / "deployments.yaml").read_text())
    assert deployment["metadata"]["name"] == "git"


SECRET = "http://me:s3cr%40t@proxy.example:3128"


def test_evidence_is_for_its_owners_eyes_only(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir(mode=0o755)
    for name in ("fresh", "again"):
        bundle.collect(tmp_path / name, None, waited_for="x")
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o700


def test_no_password_of_a_url_is_kept_and_everything_else_is(tmp_path: Path) -> None:
    def node_logs(folder: Path) -> None:
        inspect = f'{{"Env": ["HTTPS_PROXY={SECRET}", "https_proxy=http://me:two@words@proxy", "NO_PROXY=.svc"]}}\n'
        (folder / "pods").mkdir(parents=True)
        (folder / "pods" / "inspect.json").write_text(inspect * 3)
        (folder / "pods" / "inspect.json").chmod(0o400)
        (folder / "core").write_bytes(b"\0" + SECRET.encode())
        (folder / "link").symlink_to(tmp_path / "elsewhere")
        (folder / "journal.log").write_text(harmless)

    harmless = "pulled docker-pullable://debian:13@sha256:ab from http://localhost:5001/v2/, told root@node; // a: b@c\n"
    (tmp_path / "elsewhere").write_text(SECRET)
    kube = FakeKube(event("a", "2026-01-01T00:00:01Z") | {"message": f"no answer from {SECRET}"})
    bundle.collect(tmp_path / "e", kube, waited_for=f"an answer from {SECRET}", node_logs=node_logs)
    kept = {file.name: file for file in (tmp_path / "e").rglob("*") if file.is_file()}
    for name in ("inspect.json", "waited-for.txt", "causes.txt", "events.yaml"):
        said = kept[name].read_text()
        assert "//*" in said and "*@proxy" in said, said
        assert not [word for word in ("me:s", "me:t", "s3cr", "two", "words") if word in said], said
    assert "NO_PROXY=.svc" in kept["inspect.json"].read_text()
    assert kept["journal.log"].read_text() == harmless
    assert kept["core"].read_bytes() == b"\0" + SECRET.encode()
    assert (tmp_path / "elsewhere").read_text() == SECRET


def test_a_file_that_cannot_be_looked_through_for_passwords_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chmod = Path.chmod

    def refused(path: Path, mode: int) -> None:
        if path.name == "broken.log":
            raise PermissionError(1, "Operation not permitted")
        chmod(path, mode)

    def node_logs(folder: Path) -> None:
        folder.mkdir()
        (folder / "broken.log").write_text(SECRET)

    monkeypatch.setattr(Path, "chmod", refused)
    bundle.collect(tmp_path / "e", None, waited_for="x", node_logs=node_logs)
    assert not (tmp_path / "e" / "node" / "broken.log").exists()


def test_logs_are_kept_of_every_container_and_of_its_last_life(tmp_path: Path) -> None:
    ill = pod("catalog-1", "dev", containerStatuses=waiting("CrashLoopBackOff"))
    ill["spec"]["initContainers"] = [{"name": "prepare"}]
    kube = FakeKube(ill, pod("etcd", "kube-system"))
    kube.texts = {
        ("catalog-1/main", False): "now",
        ("catalog-1/main", True): "before",
        ("catalog-1/prepare", False): "first",
        ("etcd/main", False): "much",
    }
    bundle.collect(tmp_path / "e", kube, waited_for="x")
    assert {file.name: file.read_text() for file in (tmp_path / "e" / "logs").iterdir()} == {
        "dev.catalog-1.main.log": "now",
        "dev.catalog-1.main.previous.log": "before",
        "dev.catalog-1.prepare.log": "first",
    }


def test_evidence_lies_beside_the_instances_so_that_down_leaves_it(tmp_path: Path) -> None:
    settings = Settings(tmp_path, tmp_path, "test")
    folder = bundle.new_folder(settings)
    assert folder.parent == tmp_path / "evidence"
    assert folder.name.startswith("test-")
    assert not folder.is_relative_to(settings.folder)
