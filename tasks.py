"""The tasks of `./invoke`: doors, not rooms. What they do is in the package slipway."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from invoke.collection import Collection
from invoke.context import Context

import cli

FLAGS = {
    "all": "every service of every environment too",
    "ci": "bring everything up once, and end: exit code 0, or the reason",
    "branch": "a branch of yours (default: the one that is checked out)",
    "down": "end Tilt and remove all that is in `local`, data included",
    "env": "one environment (default: all)",
    "follow": "go on until interrupted",
    "html": "write the page to this file, as it is now, and end",
    "json": "print the result for machines",
    "keep": "leave the instances of the tests running",
    "lock": "the lock that is meant, by its hash (default: the newest one that stage runs)",
    "name": "the instance (default: SLIPWAY_INSTANCE, else slipway)",
    "only": "only the tests that match this expression (pytest -k)",
    "open": "show the storefront of each environment in your browser",
    "origin": "the environment it comes from (default: the one before)",
    "profile": "what the instance holds: full (default) or minimal",
    "purge": "remove registry, image cache and tools too, when no other instance needs them",
    "registry": "a registry of yours, as [https://]HOST[:PORT][/PREFIX] (default: SLIPWAY_REGISTRY)",
    "ref": "a branch of the application's repository, a commit of it, or BRANCH@COMMIT",
    "release": "a release, as vX.Y.Z (default: the one that stage runs)",
    "run": "print what this run said",
    "runs": "how often to measure",
    "seconds": "how long to measure",
    "service": "one of the services",
    "source": "where images come from: auto (default: pull when the registries answer), pull or build",
    "tail": "lines per pod to begin with",
    "timeout": "seconds that --ci may take (default: 900)",
    "tilt": "compile Tilt for `dev` besides, in the background, once all else is done",
    "to": "an environment",
    "upgrade": "take the newest versions instead of keeping what is locked",
    "version": "the semantic version",
    "user": "as whom: developer, lead or pipeline (default: SLIPWAY_USER, else developer)",
}

# Where a task needs what others may leave out.
ONE = FLAGS | {"env": "the environment"}

door = partial(cli.door, help=FLAGS)


@door("Start", unfinished=cli.UNFINISHED)
def up(_: Context, name: str = "", source: str = "auto", profile: str = "", *, tilt: bool = False, json: bool = False) -> None:
    """Make an instance, or repair it: a cluster that Argo CD fills from Git."""
    from slipway import up
    from slipway.progress import Progress
    from slipway.settings import load

    made = up.up(load(name), source=source, profile=profile or None, progress=Progress(), with_tilt=tilt)
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


@door(
    "Start",
    default=True,
    positional=[],
    word="service",
    iterable=["service"],
    help=FLAGS | {"port": "where Tilt's page is on 127.0.0.1 (default: 10350, or the next free one)"},
    unfinished="`./invoke dev --down` removes what is in `local`.",
)
def dev(
    _: Context,
    service: list[str],
    *,
    ci: bool = False,
    down: bool = False,
    port: int = 0,
    timeout: int = 0,
    name: str = "",
    json: bool = False,
) -> int | None:
    """Work on the services in the cluster: what is saved is served a second later (Tilt)."""
    from slipway import dev, settings
    from slipway.progress import Progress

    if down:
        dev.alone("--down", service, ci=ci, port=port, timeout=timeout)
        return cli.answer(dev.down(settings.load(name), progress=Progress()), json=json, show=dev.show_down)
    return dev.run(settings.load(name), service, port=port, ci=ci, timeout=timeout, progress=Progress())


@door("Start", name="facts", positional=[], iterable=["service"])
def dev_facts(_: Context, service: list[str], *, name: str = "", json: bool = False) -> None:
    """Print what the Tiltfile reads: services, stores, ports and context of `local`."""
    from slipway import dev, settings

    cli.answer(dev.answer(settings.load(name), service), json=json)


@door("Start", name="service", help=FLAGS | {"service": "the new service's name"})
def new_service(_: Context, service: str, json: bool = False) -> None:
    """Make a new service's folder, which passes every check from the start."""
    from slipway import scaffold
    from slipway.settings import load

    cli.answer(scaffold.new_service(load(), service), json=json, show=scaffold.show)


@door("Look")
def status(_: Context, name: str = "", json: bool = False) -> int:
    """Show what an instance runs and what is wrong with it; exit code 1 unless all is well."""
    from slipway import status
    from slipway.settings import load

    seen = status.status(load(name))
    cli.answer(seen, json=json, show=status.show)
    return 0 if seen.healthy else 1


@door("Look")
def urls(_: Context, name: str = "", all: bool = False, open: bool = False, json: bool = False) -> None:
    """List the URLs of an instance: the storefront of each environment, and the platform."""
    from slipway import settings, urls

    found = urls.urls(settings.load(name), every=all)
    cli.answer(found, json=json)
    if open:
        urls.browse(found)


@door("Look", help=FLAGS | {"port": "where to listen on 127.0.0.1 (default: 8090, or the next free one)"})
def board(_: Context, name: str = "", port: int = 0, html: str = "", json: bool = False) -> None:
    """Serve one live page of every service in every environment, or write it to a file."""
    from slipway import board, settings

    if html or json:
        cli.answer(board.write(settings.load(name), html) if html else board.look(settings.load(name)), json=json)
    else:
        board.serve(settings.load(name), port=port)


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


@door("Deliver", word="branch")
def push(_: Context, branch: str = "", to: str = "", user: str = "", name: str = "", json: bool = False) -> int:
    """Push a branch, and follow what the pipeline makes of it to the end."""
    from slipway import pushing, settings
    from slipway.progress import Progress

    mine = settings.load(name)
    run = pushing.push(mine, branch=branch, to=to, user=cli.user(user), progress=Progress())
    return cli.judged(run, json=json, show=partial(pushing.show, mine))


@door("Deliver", default=True)
def ci(_: Context, ref: str, to: str = "", user: str = "", name: str = "", json: bool = False) -> int:
    """Run the pipeline for a branch here and now, in the foreground."""
    from slipway import pushing, settings
    from slipway.progress import Progress

    mine = settings.load(name)
    run = pushing.ci(mine, ref=ref, to=to, user=cli.user(user), progress=Progress())
    return cli.judged(run, json=json, show=partial(pushing.show, mine))


@door("Deliver")
def runs(_: Context, run: str = "", name: str = "", json: bool = False) -> None:
    """List the pipeline's runs, or print what one of them said."""
    from slipway import pushing, settings

    found = pushing.printed(settings.load(name), run) if run else pushing.listed(settings.load(name))
    cli.answer(found, json=json, show=pushing.show_log if run else pushing.show_runs)


@door("Deliver", positional=["branch"], help=FLAGS | {"branch": "a branch of the application's repository"})
def merge(_: Context, branch: str, user: str = "", name: str = "", json: bool = False) -> None:
    """Merge a branch into develop, once its commit has passed the pipeline."""
    from slipway import merging, settings
    from slipway.progress import Progress

    made = merging.merge(settings.load(name), branch, user=cli.user(user), progress=Progress())
    cli.answer(made, json=json, show=merging.show)


@door("Deliver", positional=["to"], iterable=["service"])
def promote(
    _: Context,
    to: str,
    service: list[str],
    *,
    origin: str = "",
    release: str = "",
    user: str = "",
    name: str = "",
    json: bool = False,
) -> None:
    """Give an environment what the one before runs; stage gets its release again, or another.

    All services, or those that --service names; stage takes a release whole.
    """
    from slipway import promoting, settings
    from slipway.progress import Progress

    asked = promoting.Asked(to=to, source=origin, services=tuple(service), release=release, user=cli.user(user))
    cli.answer(promoting.promote(settings.load(name), asked, progress=Progress()), json=json, show=promoting.show)


@door("Deliver")
def cut(_: Context, version: str, user: str = "", name: str = "", json: bool = False) -> None:
    """Cut the release X.Y.Z; stage gets it by itself."""
    from slipway import releases, settings
    from slipway.progress import Progress

    made = releases.cut(settings.load(name), version, user=cli.user(user), progress=Progress())
    cli.answer(made, json=json, show=releases.show)


@door("Deliver")
def finish(_: Context, version: str, user: str = "", name: str = "", json: bool = False) -> None:
    """Merge a release that prod runs to main, tag it, and bring it back to develop."""
    from slipway import releases, settings
    from slipway.progress import Progress

    made = releases.finish(settings.load(name), version, user=cli.user(user), progress=Progress())
    cli.answer(made, json=json, show=releases.show)


@door("Deliver", help=FLAGS | {"release": "a release, as vX.Y.Z"})
def approve(_: Context, release: str, lock: str = "", user: str = "", name: str = "", json: bool = False) -> None:
    """Approve a release's lock for prod, as somebody who is not its author."""
    from slipway import releases, settings

    made = releases.approve(settings.load(name), release, lock=lock, user=cli.user(user))
    cli.answer(made, json=json, show=releases.show_approval)


@door("Deliver", help=ONE | {"to": "the release, version or commit to go back to (default: what ran before)"})
def rollback(_: Context, env: str, to: str = "", user: str = "", name: str = "", json: bool = False) -> None:
    """Bring an environment back to exactly what a former release was there."""
    from slipway import rollback, settings
    from slipway.progress import Progress

    made = rollback.rollback(settings.load(name), env, to=to, user=cli.user(user), progress=Progress())
    cli.answer(made, json=json, show=rollback.show)


@door("Trace")
def policy(_: Context, json: bool = False) -> None:
    """Show which branches reach which environments, and who may do what."""
    from slipway import rules, settings

    cli.answer(rules.table(settings.load()), json=json, show=rules.show)


@door("Trace", help=ONE)
def history(_: Context, env: str, name: str = "", json: bool = False) -> None:
    """Tell an environment's history, from Git alone: what came when, from where, by whom."""
    from slipway import history, settings

    cli.answer(history.history(settings.load(name), env), json=json, show=history.show)


@door("Trace", positional=["first", "second"])
def diff(_: Context, first: str, second: str, name: str = "", json: bool = False) -> None:
    """Show what differs between two environments: versions, digests, charts, configuration."""
    from slipway import difference, settings

    cli.answer(difference.diff(settings.load(name), first, second), json=json, show=difference.show)


@door("Trace", help=ONE)
def explain(_: Context, service: str, env: str, name: str = "", json: bool = False) -> None:
    """Explain what runs of a service: from where, by whom, and what its next promotion lacks."""
    from slipway import explain, settings

    cli.answer(explain.explain(settings.load(name), service, env), json=json, show=explain.show)


@door("Trace")
def metrics(_: Context, name: str = "", json: bool = False) -> None:
    """Show deployment frequency, lead time, change failure rate and time to restore."""
    from slipway import dora, settings

    cli.answer(dora.metrics(settings.load(name)), json=json, show=dora.show)


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


@door("Images", help=FLAGS | {"env": "the environment (default: the first one that runs it)"})
def sbom(_: Context, service: str, name: str = "", env: str = "") -> None:
    """Print the bill of materials (CycloneDX) of what runs of a service."""
    from slipway import bill
    from slipway.settings import load

    print(bill.bill(load(name), service, environment=env), end="")


@door("Images", positional=[], word="service", iterable=["service"])
def build(_: Context, service: list[str], *, source: str = "auto", json: bool = False) -> None:
    """Build the images of this checkout's last commit, for the clusters of this machine."""
    from slipway import publishing, settings
    from slipway.progress import Progress

    made = publishing.build(settings.load(), services=tuple(service), source=source, progress=Progress())
    cli.answer(made, json=json, show=publishing.show)


@door("Images", positional=[], word="service", iterable=["service"])
def publish(
    _: Context, service: list[str], *, registry: str = "", version: str = "", source: str = "auto", json: bool = False
) -> None:
    """Build the services' images and push them to a registry of yours."""
    from slipway import publishing, settings
    from slipway.progress import Progress

    asked = publishing.Asked(registry=registry, version=version, services=tuple(service), source=source)
    cli.answer(publishing.publish(settings.load(), asked, progress=Progress()), json=json, show=publishing.show)


@door(
    "Images",
    name="promote",
    positional=["release"],
    help=FLAGS | {"release": "X.Y.Z-rc.N, or vX.Y.Z for its newest candidate"},
)
def promote_images(_: Context, release: str, registry: str = "", json: bool = False) -> None:
    """Give a release's final version to the images of its candidate: one more tag, no build."""
    from slipway import publishing, settings
    from slipway.progress import Progress

    made = publishing.promote(settings.load(), release, registry=registry, progress=Progress())
    cli.answer(made, json=json, show=publishing.show)


@door("Test", default=True)
def everything(_: Context) -> int:
    """Run every part in turn: lint, unit, delivery, charts, services, rules, e2e."""
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
    """Check format, style, types, layering and the workflows."""
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


@door("Measure", name="images")
def bench_images(_: Context, service: str = "catalog", runs: int = 5, json: bool = False) -> None:
    """Measure a changed line to a digest in the registry, beside the bare bytes."""
    from slipway import bench_images
    from slipway.progress import Progress
    from slipway.settings import load

    made = bench_images.bench_images(load(), service=service, runs=runs, progress=Progress())
    cli.answer(made, json=json, show=bench_images.show)


@door("Measure", name="services")
def bench_services(_: Context, json: bool = False) -> int:
    """Measure what a request to each service costs, beside a bare server."""
    from slipway import bench_services
    from slipway.progress import Progress
    from slipway.settings import load

    report = bench_services.bench_services(load(), progress=Progress())
    cli.answer(report, json=json, show=bench_services.show)
    return 0 if report.well else 1


@door("Measure", name="idle")
def bench_idle(_: Context, name: str = "", seconds: int = 60, json: bool = False) -> None:
    """Measure what a running instance takes while nobody uses it, beside the budgets."""
    from slipway import bench_idle
    from slipway.progress import Progress
    from slipway.settings import load

    cli.answer(bench_idle.bench_idle(load(name), seconds=seconds, progress=Progress()), json=json, show=bench_idle.show)


@door("Measure", name="pipeline")
def bench_pipeline(_: Context, runs: int = 3, json: bool = False) -> None:
    """Measure a push, a commit and a release until they run, beside their floors."""
    from slipway import bench_pipeline
    from slipway.progress import Progress
    from slipway.settings import load

    made = bench_pipeline.bench_pipeline(load(), runs=runs, progress=Progress())
    cli.answer(made, json=json, show=bench_pipeline.show)


@door("Measure", name="dev")
def bench_dev(_: Context, name: str = "", runs: int = 20, json: bool = False) -> None:
    """Measure a save until it is served in `local`, beside its floor and a new image."""
    from slipway import bench_dev
    from slipway.progress import Progress
    from slipway.settings import load

    cli.answer(bench_dev.bench_dev(load(name), runs=runs, progress=Progress()), json=json, show=bench_dev.show)


@door("Measure", name="load")
def bench_load(_: Context, name: str = "", json: bool = False) -> None:
    """Measure the load generator's ceiling, the shop's saturation and the tests' own cost."""
    from slipway import bench_load
    from slipway.progress import Progress
    from slipway.settings import load

    cli.answer(bench_load.bench_load(load(name), progress=Progress()), json=json, show=bench_load.show)


LOAD = FLAGS | {
    "duration": "seconds of the phases that count, all together (default: the profile's)",
    "during": "change something under the load, of which nobody may notice: rollout, promotion or rollback",
    "env": "the environment under test (default: stage)",
    "keep": "leave the test's carts and orders there",
    "node_selector": "where the generator runs, as a node's label: KEY=VALUE (default: anywhere)",
    "workers": "processes that send, spread over the nodes there are (default: the profile's)",
    "from_instance": "send from the cluster of another instance on this machine (default: the one under test)",
    "local": "send from this host through the mapped port: a quick look, and no proof",
    "profile": "smoke (default), average, stress, spike, soak, breakpoint, or steady (default with --during)",
    "rate": "journeys per second at the profile's highest (default: the profile's)",
    "release": "refuse to test any other release; with --during, what to promote or to go back to",
    "first": "the release that is the measure, as vX.Y.Z; or runs of it that are kept, with commas between",
    "second": "the release, or the runs, that are compared with it",
    "runs": "of each release, and of the first one against itself (default: 6)",
    "run": "the run, or how its name begins (default: the last one)",
}


@door("Load", default=True, positional=[], help=LOAD, code=3)
def load(
    _: Context,
    *,
    env: str = "stage",
    profile: str = "",
    release: str = "",
    local: bool = False,
    rate: float = 0.0,
    duration: float = 0.0,
    workers: int = 0,
    node_selector: str = "",
    from_instance: str = "",
    during: str = "",
    keep: bool = False,
    user: str = "",
    name: str = "",
    json: bool = False,
) -> int:
    """Test an environment under load: pass (exit code 0), fail (1), invalid (2), none (3)."""
    from slipway import load, settings
    from slipway.progress import Progress

    chosen = profile or (load.PROFILE if during else "smoke")
    how = load.Asked(env, chosen, release, local, rate, duration, during=during, keep=keep, user=cli.user(user))
    how = replace(how, workers=workers, nodes=node_selector, sender=from_instance)
    return cli.coded(load.load(settings.load(name), how, progress=Progress()), json=json, show=load.show_made)


@door("Load", name="compare", positional=["first", "second"], help=LOAD, code=3)
def load_compare(
    _: Context,
    first: str,
    second: str,
    *,
    profile: str = "smoke",
    rate: float = 0.0,
    duration: float = 0.0,
    runs: int = 0,
    user: str = "",
    name: str = "",
    json: bool = False,
) -> int:
    """Run two releases in turns: the second is as good (exit 0), worse (1), or unknown (2)."""
    from slipway import load, settings
    from slipway.progress import Progress

    asked = load.Asked(profile=profile, rate=rate, duration=duration, user=cli.user(user))
    told = load.compared(settings.load(name), first, second, asked, runs=runs, progress=Progress())
    return cli.coded(told, json=json, show=load.show_compared)


@door("Load", name="runs")
def load_runs(_: Context, name: str = "", json: bool = False) -> None:
    """List the load tests that were made, with their verdicts."""
    from slipway import load, settings

    cli.answer(load.runs(settings.load(name)), json=json, show=load.show_runs)


@door("Load", name="report", word="run", help=LOAD)
def load_report(_: Context, run: str = "last", name: str = "", json: bool = False) -> None:
    """Make the report of a load test again, and say where it lies."""
    from slipway import load, settings

    cli.answer(load.again(settings.load(name), run), json=json, show=load.show_made)


PARTS = {
    "unit": "Run the unit tests: no engine, no cluster, seconds.",
    "delivery": "Try the delivery on real repositories, with the Git server's real hooks: no cluster.",
    "charts": "Render the charts and check them against the schemas of the pinned Kubernetes.",
    "services": "Test the services against real stores.",
    "rules": "Test the alert rules with promtool.",
    "e2e": "Test the whole on a real cluster that the tests make and remove.",
    "long": "Run the repeats and the slow proofs.",
}

START = (up, down, ephemeral)
DELIVER = (push, merge, approve, promote, rollback)
LOOK = (status, urls, board, logs, env, doctor, policy, history, diff, explain, metrics)

namespace = Collection(*START, *DELIVER, *LOOK, lint, format, lock)
namespace.add_collection(Collection("dev", dev, dev_facts))
namespace.add_collection(Collection("ci", ci, runs))
namespace.add_collection(Collection("load", load, load_compare, load_runs, load_report))
namespace.add_collection(Collection("release", cut, finish))
namespace.add_collection(Collection("new", new_service))
namespace.add_collection(Collection("images", show, prune, sbom, build, publish, promote_images))
namespace.add_collection(Collection("test", everything, *(part(name, line) for name, line in PARTS.items())))
namespace.add_collection(
    Collection("bench", bench_up, bench_cold, bench_images, bench_services, bench_idle, bench_pipeline, bench_dev, bench_load)
)
