"""The ways from a saved file to an answer that holds it."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

from slipway import names, roles, shell
from slipway.bench_dev.bench import Bench
from slipway.dev.told import COPY, RELOAD, ROLE
from slipway.kube import Object
from slipway.progress import Phase

# Seconds.
SAVE_TIMEOUT, REBUILD_TIMEOUT = 60.0, 300.0


def saves(bench: Bench, service: str, runs: int, phase: Phase) -> list[float]:
    """Seconds from a save of the service's main.py until an answer holds it, as often as asked."""
    main, taken = _main(bench, service), list[float]()
    for number in range(runs + 1):  # the first one finds caches cold
        said = _said()
        content = _saying(main, said)
        begun = time.monotonic()
        main.write_text(content)
        bench.served(service, said, timeout=SAVE_TIMEOUT)
        taken.append(time.monotonic() - begun)
        phase.say(f"{number}/{runs} saved")
    return taken[1:]


def floors(bench: Bench, service: str, runs: int, kubectl: Path, phase: Phase) -> list[float]:
    """The same, by `kubectl cp` and `kubectl exec` instead of Tilt."""
    settings, taken = bench.settings, list[float]()
    pods = bench.found.kube.list("Pod", namespace=names.LOCAL)
    pod = next(item["metadata"]["name"] for item in pods if _of(item, service))
    words = [kubectl, "--kubeconfig", roles.kubeconfig(settings, ROLE), "--namespace", names.LOCAL]
    other = bench.tree.parent / "main.py"
    for number in range(runs + 1):  # as above
        said = _said()
        other.write_text(_saying(_main(bench, service), said))
        begun = time.monotonic()
        shell.run([*words, "cp", other, f"{pod}:{COPY}/main.py", "--no-preserve"], timeout=SAVE_TIMEOUT)
        shell.run([*words, "exec", pod, "--", *RELOAD], timeout=SAVE_TIMEOUT)
        bench.served(service, said, timeout=SAVE_TIMEOUT)
        taken.append(time.monotonic() - begun)
        phase.say(f"{number}/{runs} put there by hand")
    return taken[1:]


def rebuilds(bench: Bench, service: str, runs: int, phase: Phase) -> list[float]:
    """Seconds until a new image serves what was saved: with other requirements, for which no file alone is enough."""
    main, taken = _main(bench, service), list[float]()
    locked = main.with_name("requirements.txt")
    for number in range(runs):
        said = _said()
        content = _saying(main, said)
        begun = time.monotonic()
        locked.write_text(f"{locked.read_text()}# {said}\n")
        main.write_text(content)
        bench.served(service, said, timeout=REBUILD_TIMEOUT)
        taken.append(time.monotonic() - begun)
        phase.say(f"{number + 1}/{runs} built")
    return taken


def _main(bench: Bench, service: str) -> Path:
    return bench.tree / "services" / service / "main.py"


def _said() -> str:
    return f"Saved {secrets.token_hex(6)}."


def _saying(main: Path, said: str) -> str:
    """The service's code with another first line, which is what it says of itself."""
    _, _, rest = main.read_text().partition("\n")
    return f'"""{said}"""\n{rest}'


def _of(pod: Object, service: str) -> bool:
    labels = pod["metadata"].get("labels") or {}
    return labels.get("app.kubernetes.io/name") == service and not pod["metadata"].get("deletionTimestamp")
