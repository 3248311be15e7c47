"""The tasks of `./invoke`: doors, not rooms. What they do is in the package slipway."""

from __future__ import annotations

from functools import partial

from invoke.collection import Collection
from invoke.context import Context

import cli

FLAGS = {
    "env": "one environment (default: all)",
    "follow": "go on until interrupted",
    "json": "print the result for machines",
    "keep": "leave the instances of the tests running",
    "name": "the instance (default: SLIPWAY_INSTANCE, else slipway)",
    "only": "only the tests that match this expression (pytest -k)",
    "profile": "what the instance holds: full (default) or minimal",
    "purge": "remove registry, image cache and tools too, when no other instance needs them",
    "runs": "how often to measure",
    "source": "where images come from: auto (default: pull when the registries answer), pull or build",
    "upgrade": "take the newest versions instead of keeping what is locked",
    "tail": "lines per pod to begin with",
}

door = partial(cli.door, help=FLAGS)


@door("Start", unfinished=cli.UNFINISHED)
def up(_: Context, name: str = "", source: str = "auto", profile: str = "", json: bool = False) -> None:
    """Make an instance, or repair it: a cluster that Argo CD fills from Git."""
    from slipway import up
    from slipway.progress import Progress
    from slipway.settings import load

    made = up.up(load(name), source=source, profile=profile or None, progress=Progress())
    cli.answer(made, json=json, show=up.show)


@door("Start", unfinished=cli.UNFINISHED)
def down(_: Context, name: str = "", purge: bool = False, json: bool = False) -> None:
    """Remove an instance, whatever state it is in; its images stay for the next one."""
    from slipway import down
    from slipway.progress import Progress
    from slipway.settings import load

    with Progress().showing() as shown:
        cli.answer(down.down(load(name), purge=purge, progress=shown), json=json, show=down.show)


@door("Start")
def ephemeral(_: Context, source: str = "auto", profile: str = "") -> int:
    """Run `ephemeral -- COMMAND` with a fresh instance that is removed afterwards."""
    from slipway import ephemeral
    from slipway.progress import Progress

    words = cli.words_after_dashes()
    return ephemeral.ephemeral(words, source=source, profile=profile or None, progress=Progress())


@door("Look")
def status(_: Context, name: str = "", json: bool = False) -> int:
    """Show what an instance runs and what is wrong with it; exit code 1 unless all is well."""
    from slipway import status
    from slipway.settings import load

    seen = status.status(load(name))
    cli.answer(seen, json=json, show=status.show)
    return 0 if seen.healthy else 1


@door("Look")
def urls(_: Context, name: str = "", json: bool = False) -> None:
    """List every URL that an instance answers on."""
    from slipway import errors, settings, status

    seen = status.status(settings.load(name))
    if not seen.urls:
        raise errors.SlipwayError(f"{seen.instance} has no URLs. {seen.trouble}")
    cli.answer(seen.urls, json=json)


@door("Look")
def logs(_: Context, service: str, name: str = "", env: str = "", follow: bool = False, tail: int = 100) -> int:
    """Print what a service says, in one environment or in all."""
    from slipway import logs, toolbox
    from slipway.settings import load

    kubectl = toolbox.get(load(name), "kubectl")
    return logs.logs(load(name), kubectl=kubectl, service=service, environment=env or None, follow=follow, tail=tail)


@door("Look")
def env(_: Context, name: str = "", json: bool = False) -> None:
    """Print what points kubectl at an instance: eval "$(./invoke env)"."""
    from slipway import logs
    from slipway.settings import load

    cli.answer(logs.exports(load(name)), json=json, show=cli.show_exports)


@door("Look")
def doctor(_: Context, json: bool = False) -> int:
    """Check whether this machine can run an instance, with a cure for each lack."""
    from slipway import doctor
    from slipway.settings import load

    checks = doctor.examine(load())
    cli.answer(checks, json=json, show=doctor.show)
    return 0 if all(check.ok for check in checks) else 1


@door("Images", default=True)
def show(_: Context, json: bool = False) -> None:
    """List the images and artefacts there are: from where, how large, by which key."""
    from slipway import inventory
    from slipway.settings import load

    cli.answer(inventory.look(load()), json=json, show=inventory.show)


@door("Images")
def prune(_: Context, json: bool = False) -> None:
    """Remove the images and artefacts that no pin names any more."""
    from slipway import inventory
    from slipway.settings import load

    cli.answer(inventory.prune(load()), json=json, show=inventory.show_pruned)


@door("Test", default=True)
def everything(_: Context) -> int:
    """Run every part in turn: lint, unit, charts, services, rules, e2e."""
    from slipway import checks

    return checks.run(checks.TIER_1)


def part(name: str, line: str) -> cli.Door:
    """The task that runs one part of the tests alone."""

    def body(_: Context, only: str = "", keep: bool = False) -> int:
        from slipway import checks

        return checks.run([name], only=only, keep=keep)

    body.__doc__ = line
    return door("Test", name=name)(body)


@door("Test")
def lint(_: Context) -> int:
    """Check format, style, types and layering."""
    from slipway import checks

    return checks.run(["lint"])


@door("Test")
def format(_: Context) -> int:
    """Format the Python code, and mend what can be mended without a person."""
    from slipway import checks

    return checks.format_all()


@door("Test")
def lock(_: Context, upgrade: bool = False, json: bool = False) -> None:
    """Lock the Python requirements anew, with the hash of every file."""
    from slipway import requirements
    from slipway.settings import load

    cli.answer(requirements.lock(load(), upgrade=upgrade), json=json)


@door("Measure", name="up")
def bench_up(_: Context, runs: int = 1, json: bool = False) -> None:
    """Measure a warm `up` by phase, beside the floor: a bare cluster, the same manifests."""
    from slipway import bench
    from slipway.progress import Progress

    cli.answer(bench.bench_up(runs=runs, progress=Progress()), json=json, show=bench.show)


@door("Measure", name="cold")
def bench_cold(_: Context, json: bool = False) -> None:
    """Measure the builds from an empty cache, one by one."""
    from slipway import bench
    from slipway.progress import Progress

    cli.answer(bench.bench_cold(progress=Progress()), json=json, show=bench.show)


PARTS = {
    "unit": "Run the unit tests: no engine, no cluster, seconds.",
    "charts": "Render the charts and check them against the schemas of the pinned Kubernetes.",
    "services": "Test the services against real stores.",
    "rules": "Test the alert rules with promtool.",
    "e2e": "Test the whole on a real cluster that the tests make and remove.",
    "long": "Run the repeats and the slow proofs.",
}

namespace = Collection(up, down, ephemeral, status, urls, logs, env, doctor, lint, format, lock)
namespace.add_collection(Collection("images", show, prune))
namespace.add_collection(Collection("test", everything, *(part(name, line) for name, line in PARTS.items())))
namespace.add_collection(Collection("bench", bench_up, bench_cold))
