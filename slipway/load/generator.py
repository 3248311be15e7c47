"""The generator at work: as Jobs in the cluster, or as processes on the host; and what it told, as facts."""

from __future__ import annotations

import contextlib
import secrets
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from slipway import helm, names, shell
from slipway.bundle import unscheduled
from slipway.catalogue import Catalogue
from slipway.errors import SlipwayError
from slipway.kube import NOT_YET, Kube, KubeError, Object
from slipway.load import written
from slipway.load.lines import Lines
from slipway.load.model import ENVIRONMENT_CODE, Client, Locusts, Plan, Second, Worker
from slipway.ports import LOOPBACK, free_port
from slipway.progress import Phase
from slipway.settings import Settings
from slipway.waiting import Failed, Pending, Ready, WaitFailed, WaitTimeout, wait_for

NAMESPACE = "load"

# What is kept of a run beside its facts: what the generator was told, and what it printed.
ORDER, LOG = "order.json", "log"

# Seconds: until the generator runs, its image being fetched meanwhile; until its processes have ended after its last word.
START_TIMEOUT, END_TIMEOUT = 120.0, 45.0

# Seconds without a line after which the log is taken up again, for the master says something every second; and that an API server
# which does not answer is waited for: a test that nobody can see any more is none.
_QUIET, _AWAY = 15.0, 60.0

# Seconds beyond the plan after which what is left of it is ended: workers meet and prepare before it, and tidy up after it.
_BEYOND = 240.0

# Where the master of a generator on the host hears its workers: one of so many ports from here on, drawn each time.
_PORT, _PORTS = 20000, 10000

_RUN_LABEL = "slipway.dev/load-run"
_MASTER, _WORKER = "master", "worker"

# Reasons for which a container will never start.
_HOPELESS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError"}
)


class NoGenerator(SlipwayError):
    """The generator did not come to send anything: the environment's trouble, and nobody's verdict."""

    exit_code = ENVIRONMENT_CODE


def in_cluster(
    kube: Kube,
    settings: Settings,
    *,
    helm_program: Path,
    image: str,
    run: str,
    order: str,
    plan: Plan,
    folder: Path,
    on_second: Callable[[Second], None],
    phase: Phase,
    nodes: Mapping[str, str] | None = None,
) -> Client:
    """What the generator saw that runs as Jobs in the cluster; nothing of it is left there.

    Args:
        kube: The cluster.
        settings: Where the chart is.
        helm_program: Helm.
        image: The generator's image.
        run: The run's name.
        order: What the generator is told.
        plan: The same, as facts.
        folder: Where the order and the log are kept.
        on_second: Told of every second of the test.
        phase: Told what is waited for.
        nodes: Labels of the nodes that it runs on; by default any.

    Raises:
        NoGenerator: It never began.
    """
    values = {"run": run, "image": image, "order": order, "workers": plan.workers, "nodeSelector": dict(nodes or {})}
    values["deadlineSeconds"] = int(plan.seconds + plan.drain + _BEYOND)
    objects = [_namespace(), *_render(settings, helm_program, values)]
    (folder / ORDER).write_text(order)
    try:
        kube.apply(objects)
        master = _wait_for_master(kube, run, phase)
        lines = _follow(kube, master, on_second, plan)
        _keep(folder, lines)
        exit_codes = _exit_codes(kube, run, plan)
    except (WaitTimeout, WaitFailed, KubeError) as error:
        raise NoGenerator(f"the load generator did not begin: {error}") from error
    finally:
        _remove(kube, objects)
    return client(lines, plan, exit_codes)


def client(lines: Lines, plan: Plan, exit_codes: Mapping[str, int]) -> Client:
    """What the generator saw, by what it printed; of one that was ended, as far as it had come.

    Raises:
        NoGenerator: It had not begun.
    """
    told = lines.whole
    if told is not None:
        said = [*told.pop("said"), *lines.said]
        facts = {**told, "said": said, "exit_codes": dict(exit_codes)}
        return written.read(Client, facts, "the generator's result")
    if not lines.began:
        raise NoGenerator(f"the load generator ended before it began. It said: {' | '.join(lines.said[-5:]) or 'nothing'}")
    expected = [f"worker-{number}" for number in range(plan.workers)]
    workers = tuple(Worker(name, True, None, None, None, None, None, None, 0, None) for name in expected)
    return Client(
        began=lines.began,
        ended=lines.seconds[-1].at + 1 if lines.seconds else lines.began,
        seconds=tuple(lines.seconds),
        endpoints=(),
        journeys=(),
        streams=(),
        workers=workers,
        expected_workers=plan.workers,
        locust=Locusts(0, 0, None, None, None, 0.0),
        sampled=(),
        orders_accepted=0,
        orders_unsure=0,
        sent={},
        answered={},
        carts=0,
        removed={"carts": None},
        exit_codes=exit_codes,
        said=("the generator's master ended before it had told its result", *lines.said),
    )


def _namespace() -> Object:
    labels = {names.OWNER_LABEL: names.OWNER, "pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}


def _render(settings: Settings, program: Path, values: Mapping[str, Any]) -> Sequence[Object]:
    return helm.template(
        settings.root / "charts" / "load",
        helm=program,
        release=f"load-{values['run']}",
        namespace=NAMESPACE,
        values=values,
        kubernetes=settings.versions["versions"]["kubernetes"],
    )


def _pods(kube: Kube, run: str) -> Sequence[dict[str, Any]]:
    return kube.list("Pod", namespace=NAMESPACE, labels=f"{_RUN_LABEL}={run}")


def _part(pod: Object) -> str:
    return str(pod["metadata"]["labels"]["app.kubernetes.io/component"])


def _wait_for_master(kube: Kube, run: str, phase: Phase) -> str:
    """The name of the master's pod, once it runs."""

    def look() -> Ready[str] | Pending | Failed:
        pods = _pods(kube, run)
        for pod in pods:
            if why := _hopeless(pod):
                return Failed(f"{pod['metadata']['name']}: {why}")
        for pod in pods:
            if _part(pod) == _MASTER and (pod.get("status") or {}).get("phase") in ("Running", "Succeeded", "Failed"):
                return Ready(pod["metadata"]["name"])
        waits = next(filter(None, map(unscheduled, pods)), "")
        return Pending(f"no node takes it: {waits}"[:300] if waits else "the generator's pods start")

    return wait_for(f"the load generator {run}", look, timeout=START_TIMEOUT, on_change=phase.say, tolerate=NOT_YET)


def _hopeless(pod: Object) -> str:
    for status in (pod.get("status") or {}).get("containerStatuses") or []:
        waiting = (status.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _HOPELESS:
            return f"{waiting['reason']}: {waiting.get('message', '')}"[:300]
    return ""


def _follow(kube: Kube, master: str, on_second: Callable[[Second], None], plan: Plan) -> Lines:
    """All that the master printed; the log is taken up again when the connection breaks, until the pod has ended."""
    lines = Lines(on_second)
    began = time.monotonic()

    def read() -> Ready[None] | Pending:
        lines.again()
        try:
            since = time.monotonic() - began + 3600.0
            for line in kube.log_lines(master, namespace=NAMESPACE, container=_MASTER, since=since, follow=True, quiet=_QUIET):
                lines.take(line.decode(errors="replace"))
        except KubeError:  # it broke, or the pod is not that far yet
            pass
        over = lines.whole is not None or not _goes_on(kube, master)
        return Ready(None) if over else Pending("its log broke off")

    with contextlib.suppress(WaitTimeout):  # as far as it has come is told
        wait_for(f"the end of {master}", read, timeout=plan.seconds + plan.drain + _BEYOND)
    if lines.whole is None:
        _read_again(kube, master, lines)
    return lines


def _read_again(kube: Kube, master: str, lines: Lines) -> None:
    lines.again()
    try:
        for line in kube.log_lines(master, namespace=NAMESPACE, container=_MASTER, since=86400.0):
            lines.take(line.decode(errors="replace"))
    except KubeError:  # what is missing is told by whoever looks for it
        return


def _goes_on(kube: Kube, name: str) -> bool:
    """Whether a pod can still say something; it cannot, for all that anybody will see, when the API server stays away."""

    def look() -> Ready[bool] | Pending:
        pod = kube.get("Pod", name, namespace=NAMESPACE)
        phase = (pod.get("status") or {}).get("phase") if pod else None
        return Pending("it has not begun") if phase == "Pending" else Ready(phase == "Running")

    try:
        return wait_for(f"word of {name}", look, timeout=_AWAY, tolerate=NOT_YET)
    except WaitTimeout:
        return False


def _exit_codes(kube: Kube, run: str, plan: Plan) -> dict[str, int]:
    """What each process ended with, by pod; of those that have not ended, nothing."""
    found: dict[str, int] = {}

    def look() -> Ready[None] | Pending:
        for pod in _pods(kube, run):
            for status in (pod.get("status") or {}).get("containerStatuses") or []:
                if ended := (status.get("state") or {}).get("terminated"):
                    found[pod["metadata"]["name"]] = int(ended.get("exitCode", -1))
        return Ready(None) if len(found) >= plan.workers + 1 else Pending(f"{len(found)} of {plan.workers + 1} have ended")

    with contextlib.suppress(WaitTimeout):  # who has not ended is missing, which whoever judges sees
        wait_for("the end of the load generator", look, timeout=END_TIMEOUT, tolerate=NOT_YET)
    return found


def _remove(kube: Kube, objects: Sequence[Object]) -> None:
    for item in objects:
        if item["kind"] != "Namespace":
            try:
                kube.delete(item["kind"], item["metadata"]["name"], namespace=NAMESPACE, api_version=item["apiVersion"])
            except NOT_YET:  # Kubernetes removes ended Jobs by itself after a while
                continue


def on_host(
    settings: Settings, *, run: str, order: str, plan: Plan, folder: Path, on_second: Callable[[Second], None], phase: Phase
) -> Client:
    """What the generator saw that runs on the host, for a quick look.

    Args:
        settings: Where the generator's code and the cache are.
        run: The run's name.
        order: What the generator is told.
        plan: The same, as facts.
        folder: Where the order and the log are kept.
        on_second: Told of every second of the test.
        phase: Told what is made.

    Raises:
        NoGenerator: It never began.
    """
    program = python(settings, phase)
    file = folder / ORDER
    file.write_text(order)
    lines = Lines(on_second)
    words = [program, "-m", "locust", "--locustfile", settings.root / "loadtests" / "locustfile.py", "--headless"]
    words += ["--processes", str(plan.workers), "--users", str(plan.workers), "--spawn-rate", str(plan.workers)]
    # Of two generators on one host that begin at the same moment neither must hear the other's workers.
    port = str(free_port(_PORT + secrets.randbelow(_PORTS)))
    words += ["--exit-code-on-error", "0", "--loglevel", "WARNING"]
    words += ["--master-bind-host", LOOPBACK, "--master-bind-port", port, "--master-host", LOOPBACK, "--master-port", port]
    env = {"LOAD_ORDER": str(file), "LOAD_OUTPUT": "stderr", "PYTHONDONTWRITEBYTECODE": "1"}
    timeout = plan.seconds + plan.drain + _BEYOND
    result = shell.run(words, cwd=folder, env=env, check=False, timeout=timeout, on_line=lines.take)
    _keep(folder, lines)
    return client(lines, plan, {f"load-{run}": result.code})


def _keep(folder: Path, lines: Lines) -> None:
    (folder / LOG).write_text("".join(f"{line}\n" for line in lines.log), encoding="utf-8")


def python(settings: Settings, phase: Phase) -> Path:
    """The interpreter of an environment on the host with what the generator needs; made at its first use.

    Raises:
        CommandFailed: It could not be installed.
    """
    lock = settings.root / "loadtests" / "requirements.txt"
    made = Catalogue(settings).load_python

    def make(folder: Path) -> None:
        phase.say("the generator's Python environment")
        # Its programs name their interpreter by its place, which is another one until it is whole: only the interpreter is used.
        shell.run([sys.executable, "-m", "venv", folder])
        words = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        shell.run([*words, "--require-hashes", "--only-binary=:all:", "-r", lock], timeout=600.0)

    made.ensure(make, phase=phase)
    return made.use() / "bin" / "python"
