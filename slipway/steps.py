"""Steps that depend on each other, run side by side as soon as what they need is done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from graphlib import TopologicalSorter

from slipway import shell, waiting
from slipway.errors import PhaseFailed, SlipwayError
from slipway.progress import Phase, Progress


@dataclass(frozen=True)
class Step:
    """One piece of work: what it is called, which steps must be done before, and what it does.

    Steps that name the same `lane` run one after the other, in the order they become possible: compilers use
    every core by themselves, and two at a time only slow each other down.
    """

    name: str
    do: Callable[[Phase], None]
    needs: tuple[str, ...] = ()
    lane: str = ""


def needed(steps: Sequence[Step], names: Iterable[str]) -> Sequence[Step]:
    """The steps of these names and those they need, and they, in the order of the whole.

    Raises:
        KeyError: There is no step of that name.
    """
    by_name = {step.name: step for step in steps}
    wanted, left = set[str](), list(names)
    while left:
        step = left.pop()
        if step not in wanted:
            wanted.add(step)
            left += by_name[step].needs
    return [step for step in steps if step.name in wanted]


# Enough that no step waits for a thread; most of them wait for something else than the processor.
MOST_AT_ONCE = 12

# An interrupt that arrives just before a wait begins is noticed only when it ends: no wait is longer than this.
ALERT_SECONDS = 0.5


def run_steps(steps: Sequence[Step], progress: Progress) -> None:
    """Return when every step is done.

    Once one fails, or the user interrupts, nothing new starts; what is under way is ended at once (programs with
    their children, waits), for every step can be run again.

    Raises:
        PhaseFailed: The first step that failed with an error for the user.
        Exception: What the first step raised that failed otherwise, which is a bug.
        KeyError: A step needs one that is not in the list.
    """
    by_name = {step.name: step for step in steps}
    order = TopologicalSorter({step.name: step.needs for step in steps})
    for step in steps:
        for need in step.needs:
            by_name[need]  # a typo is found before anything runs
    order.prepare()
    lanes = {step.lane: threading.Lock() for step in steps}
    failed = threading.Event()

    def work(step: Step) -> None:
        if not step.lane:
            return run(step)
        with lanes[step.lane]:
            return run(step)

    def run(step: Step) -> None:
        if failed.is_set():
            return
        try:
            with progress.phase(step.name, quiet_when_skipped=True) as phase:
                step.do(phase)
        except BaseException as error:
            # What fails after the first failed because it was ended, and says nothing about the cause.
            failures.append((step.name, error))
            stop()
            raise

    def stop() -> None:
        failed.set()
        waiting.call_off()
        shell.call_off()

    def run_all() -> None:
        with ThreadPoolExecutor(MOST_AT_ONCE) as pool:
            under_way: dict[Future[None], str] = {}
            try:
                while order.is_active():
                    if not failed.is_set():
                        for name in order.get_ready():
                            under_way[pool.submit(work, by_name[name])] = name
                    if not under_way:
                        break
                    ended, _ = wait(under_way, timeout=ALERT_SECONDS, return_when=FIRST_COMPLETED)
                    for future in ended:
                        name = under_way.pop(future)
                        if future.exception() is None:
                            order.done(name)
            except BaseException:
                stop()
                raise

    failures: list[tuple[str, BaseException]] = []
    try:
        run_all()
    finally:
        waiting.resume()
        shell.resume()
    if failures:
        name, error = failures[0]
        if isinstance(error, SlipwayError):
            raise PhaseFailed(name, error) from error
        raise error
