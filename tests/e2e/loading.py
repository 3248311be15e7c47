"""Load tests as somebody runs them who asks for one on the command line, with what happens to them meanwhile."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway import cluster, engine, shell
from slipway.kube import NOT_YET, rollout
from slipway.load.generator import NAMESPACE
from slipway.load.model import FAIL, INVALID, Run, Verdict
from slipway.load.written import read
from slipway.waiting import Pending, Ready, wait_for
from tests.e2e import delivering, ledger
from tests.e2e.conftest import Instance, fetch

# Seconds for a whole test: what it asks for, and what is looked at before and after it.
TIMEOUT = 420.0
# Seconds until the generator is in the phase that counts; its image may have to be made first.
BEGIN_TIMEOUT = 300.0
# Seconds until a service that was stopped is well again: it may have to be started anew.
READY_TIMEOUT = 120.0

# Journeys per second: what a single pod of each service bears beside everything else on two cores.
RATE = 4

# Tests until one of them is not held up; the rules that say that one was, and what they say when others do so too.
TRIES = 5
HELD_UP = {"late", "generator-saturated"}
NOT_SCRAPED = "nothing was scraped for"

# Seconds that 99 of 100 journeys of a test that failed may have started late for it to count: half of what makes it invalid. A
# machine on which the generator waits lets the services wait as well.
CONTENDED = 0.05

# What the master prints of each second of a phase that counts.
_COUNTED = re.compile(r'"phase": ?"(plateau|step 1)"')

MASTER, WORKER = "master", "worker"


@dataclass(frozen=True)
class Made:
    """A test as the command told it."""

    code: int
    run: Run
    folder: Path
    report: Path

    @property
    def verdict(self) -> Verdict:
        """What it says."""
        return self.run.verdict

    @property
    def rules(self) -> set[str]:
        """The rules that were not kept."""
        return {reason.rule for reason in self.verdict.reasons}

    @property
    def why(self) -> str:
        """Every reason, as an assertion shows it."""
        return "\n".join([self.verdict.outcome, *(f"{one.rule}: {one.said}" for one in self.verdict.reasons)])


def load(instance: Instance, *words: str) -> Made:
    """A test, once it has ended with a verdict."""
    return _made(instance.invoke("load", *words, "--json", check=False, timeout=TIMEOUT))


def trusted(test: Callable[[], Made], *, each: Callable[[Made], object] = lambda _: None) -> Made:
    """A test that other work on the machine did not hold up: one that it did proves nothing, is told, and is made again.

    Args:
        test: Makes it.
        each: Looks at every one that was made: what holds whatever else the machine does.
    """
    made = test()
    for _ in range(TRIES - 1):
        each(made)
        why = held_up(made)
        if not why:
            break
        print(f"{made.run.id} was held up ({why}) and is made again:\n{made.why}")
        made = test()
    each(made)
    return made


def lossless(made: Made) -> None:
    """Say so when a test lost a request: a machine that is busy makes them late, and loses none."""
    lost = {stream.name: (stream.failures, stream.errors) for stream in made.run.client.streams if stream.failures}
    assert not lost, f"{made.run.id} lost requests, {lost}: {made.why}"


def held_up(made: Made) -> str:
    """What other work on the machine did to a test that did not pass; empty for nothing that its figures show."""
    if made.verdict.outcome == INVALID:
        late = sorted(made.rules & HELD_UP)
        return ", ".join(late) or next((one.said for one in made.verdict.reasons if NOT_SCRAPED in one.said), "")
    worst = max((worker.late_p99 or 0.0 for worker in made.run.client.workers), default=0.0)
    waited = all(re.search(r"\bp(50|95|99) is\b", one.said) for one in made.verdict.reasons)
    return f"journeys began {worst:.3f} s late" if made.verdict.outcome == FAIL and waited and worst > CONTENDED else ""


def _made(result: shell.Result) -> Made:
    assert result.code in (0, 1, 2), result.stderr
    assert result.stdout, result.stderr
    told = json.loads(result.stdout)
    return Made(result.code, read(Run, told["run"], "run"), Path(told["folder"]), Path(told["report"]))


def meanwhile(instance: Instance, *words: str, do: Callable[[str], object]) -> Made:
    """A test, and something that is done, by its run's name, as soon as it is in a phase that counts."""
    with ThreadPoolExecutor(1) as pool:
        others = {_run(pod) for pod in pods(instance, MASTER)}
        test = pool.submit(load, instance, *words)

        def counted() -> Ready[str] | Pending:
            if test.done():
                return Ready(test.result().run.id)
            for pod in pods(instance, MASTER):
                if _run(pod) not in others and _COUNTED.search(_log(instance, pod["metadata"]["name"])):
                    return Ready(_run(pod))
            return Pending("it is not that far yet")

        run = wait_for("the load that counts", counted, timeout=BEGIN_TIMEOUT)
        assert not test.done(), "the test was over before anything was done to it"
        do(run)
        return test.result()


def _run(pod: Any) -> str:
    return str(pod["metadata"]["labels"]["slipway.dev/load-run"])


def _log(instance: Instance, pod: str) -> str:
    try:
        return instance.kube.logs(pod, namespace=NAMESPACE, tail=3)
    except NOT_YET:
        return ""


def kill_workers(instance: Instance, run: str, *, most: int = 99) -> None:
    """Kill workers of a run."""
    mine = [pod["metadata"]["name"] for pod in pods(instance, WORKER) if _run(pod) == run]
    assert mine, f"{run} has no workers"
    for name in mine[:most]:
        kill(instance, NAMESPACE, name, "KILL")


def pods(instance: Instance, part: str) -> Sequence[Any]:
    """The generator's pods of one kind."""
    labels = f"app.kubernetes.io/name=load,app.kubernetes.io/component={part}"
    return instance.kube.list("Pod", namespace=NAMESPACE, labels=labels)


def kill(instance: Instance, environment: str, pod: str, signal: str) -> None:
    """Send the processes of a pod a signal, from the node: the first one of a container takes no STOP and no KILL from inside."""
    found = engine.connect(instance.settings)
    node = cluster.find(instance.settings, found)
    assert node
    container = found.container(node.name)
    seen = instance.kube.get("Pod", pod, namespace=environment)
    assert container
    assert seen
    for status in seen["status"]["containerStatuses"]:
        identifier = status["containerID"].partition("://")[2]
        files: Any = container.exec_run(
            ["sh", "-c", 'grep --files-with-matches --no-messages "$0" /proc/[0-9]*/cgroup', identifier]
        )
        processes = [file.split("/")[2] for file in files.output.decode().split()]
        assert processes, f"{pod} has no processes"
        code, said = container.exec_run(["kill", f"-{signal}", *processes])
        assert code == 0, said


@contextmanager
def undrained(instance: Instance, environment: str, service: str) -> Generator[None]:
    """A service of an environment whose pods go without minding who is being served, for as long as the block lasts."""
    before, _ = delivering.read(instance, instance.settings.environment(environment).repository)
    had = delivering.entry(instance, environment, service).values["config"]
    values = {"drain": {"seconds": 0, "timeout": 2}, "config": {**had, "drain_seconds": 0, "finish_seconds": 1}}
    try:
        commit = delivering.change(instance, environment, service, values)
        delivering.wait_delivered(instance, environment, [service], commit)
        yield
    finally:
        delivering.restore(instance, environment, before)


@contextmanager
def frozen(instance: Instance, environment: str, service: str) -> Generator[None]:
    """A service of an environment, of which one pod runs, that stands still for as long as the block lasts."""
    [pod] = ledger.pods_of(instance, environment, service)
    name = str(pod["metadata"]["name"])
    kill(instance, environment, name, "STOP")
    try:
        yield
    finally:
        with suppress(AssertionError):  # it was ended for standing still, and nobody is there who could go on
            kill(instance, environment, name, "CONT")
        wait_for(
            f"{service} in {environment} to be ready",
            lambda: rollout(instance.kube.get("Deployment", service, namespace=environment, api_version="apps/v1")),
            timeout=READY_TIMEOUT,
            tolerate=NOT_YET,
        )


@contextmanager
def faults(instance: Instance, environment: str, service: str, *wanted: dict[str, Any]) -> Generator[None]:
    """A service of an environment, of which one pod runs, that misbehaves for as long as the block lasts."""
    url = f"{instance.url(service, environment)}/admin/faults"
    armed = fetch(url, method="PUT", body={"faults": list(wanted)})
    assert armed.status == 200, armed.body
    try:
        yield
        assert fetch(url).json["faults"], "the faults were gone before the test was over"
    finally:
        fetch(url, method="PUT", body={"faults": []})
