"""A whole instance from images that are pulled: those of another instance, served by a mirror under upstream's names."""

from __future__ import annotations

import json
import shutil
import threading
import tomllib
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from slipway import engine as engines
from slipway import images, nodestore, platform, recipes, shell
from slipway.engine import Engine
from slipway.progress import Phase
from slipway.recipes import Plan
from slipway.settings import load
from tests.e2e.conftest import UP_TIMEOUT, Instance, fetch
from tests.e2e.mirror import Mirror, mirror

pytestmark = pytest.mark.long  # another cluster, from nothing

# What kind reads from a node that brings a pod network and storage, as its own node image does.
_NETWORK = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "network", "namespace": "kube-system"}}
_STORAGE_IMAGE = "docker.io/slipway/storage:test"


@pytest.fixture(scope="module")
def pulled(instance: Instance, named: Callable[[str], Instance], tmp_path_factory: pytest.TempPathFactory) -> Generator[Instance]:
    """A minimal instance whose every image came from the mirror; `instance` has made the images that it serves."""
    folder = tmp_path_factory.mktemp("pull")
    engine = engines.connect(instance.settings)
    plan = instance.plan
    text = instance.settings.pins.read_text()
    digest = str(instance.settings.versions["pull"]["node"]).partition("@")[2]
    text = text.replace(f"@{digest}", "")  # what is pushed again, or was built, has another
    (folder / "versions.toml").write_text(text)
    with mirror(engine) as running:
        for name, upstream in tomllib.loads(text)["pull"].items():
            image = plan.image(name)
            if name == "node" and plan.source == "build":
                image = _self_contained_node(instance, engine, plan, folder)
            running.publish(image, upstream)
            if image.startswith("slipway-test/"):
                engine.untag(image)
        pinned = recipes.plan(replace(instance.settings, pins=folder / "versions.toml"), engine, "pull").pinned
        with _set_aside(engine, pinned.values()), _downloads(instance, folder / "files") as downloads:
            made = _up(named, plan, running, downloads, folder)
            yield made
            made.invoke("down")


def test_an_instance_comes_up_from_pulled_images(pulled: Instance) -> None:
    seen = pulled.json("status")
    assert seen["state"] == "healthy", seen["trouble"]
    assert fetch(pulled.url("catalog", "dev") + "/products").status == 200


def test_what_was_trusted_at_its_first_pull_is_recorded(pulled: Instance) -> None:
    recorded = json.loads((pulled.settings.home / "trust.json").read_text())
    assert "quay.io/argoproj/argocd:v3.2.11" in recorded
    assert all(entry["digest"].startswith("sha256:") for entry in recorded.values())


def test_the_second_up_pulls_nothing(pulled: Instance) -> None:
    again = pulled.invoke("up")
    assert "pull" not in again.stderr


def test_images_says_where_they_came_from(pulled: Instance) -> None:
    sources = {row["source"] for row in pulled.json("images") if row["name"] == "argocd"}
    assert "pull" in sources


@contextmanager
def _set_aside(engine: Engine, names: Collection[str]) -> Generator[None]:
    """Nothing in the engine has the names of pulled images when the block begins: they must be pulled. What had one has it again
    afterwards, and what was pulled meanwhile has none: an instance of the user's must not find ours there."""
    aside = {name: f"slipway-test/aside-{number}:1" for number, name in enumerate(names) if engine.has_image(name)}
    for name, other in aside.items():
        engine.tag(name, other)
    for name in names:
        engine.untag(name)
    try:
        yield
        for name in names:
            engine.untag(name)
    finally:
        for name, other in aside.items():
            engine.tag(other, name)
            engine.untag(other)


@contextmanager
def _downloads(instance: Instance, folder: Path) -> Generator[str]:
    """The URL of a server that has the files which `pull` downloads, under their full upstream names."""
    wanted = urlsplit(instance.settings.versions["argocd"]["manifest"])
    there = folder / wanted.netloc / wanted.path.lstrip("/")
    there.parent.mkdir(parents=True)
    module = f"github.com/argoproj/argo-cd/v3@v{instance.settings.versions['versions']['argocd']}"
    recipe = instance.settings.cluster / "go" / "platform"
    told = json.loads(shell.run(["go", "mod", "download", "-json", module], cwd=recipe).stdout)
    shutil.copy(Path(told["Dir"]) / "manifests" / "install.yaml", there)
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _up(named: Callable[[str], Instance], plan: Plan, running: Mirror, downloads: str, folder: Path) -> Instance:
    tools = folder / "bin"
    tools.mkdir()
    for name in recipes.HOST_TOOLS:  # as if the user had them
        (tools / name).symlink_to(plan.tool(name))
    made = named("e2e-pull")
    environ = {
        **made.environ,
        "SLIPWAY_HOME": str(folder / "home"),  # what is trusted here is nobody else's business
        "SLIPWAY_MIRROR": running.host,
        "SLIPWAY_DOWNLOAD_MIRROR": downloads,
        "SLIPWAY_PINS": str(folder / "versions.toml"),
        "PATH": f"{tools}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    }
    there = Instance(replace(load("e2e-pull"), home=folder / "home"), environ)
    there.invoke("up", "--source", "pull", "--profile", "minimal", timeout=UP_TIMEOUT)
    return there


def _self_contained_node(instance: Instance, engine: Engine, plan: Plan, folder: Path) -> str:
    """Our node image with its store inside, and with what kind expects of an image that brings network and storage."""
    settings = instance.settings
    phase = Phase("node")
    contents = {**plan.catalogue.control_plane, _STORAGE_IMAGE: plan.image("local-path")}
    store = nodestore.ensure(settings, engine, contents=contents, node_image=plan.image("node"), phase=phase)
    storage = platform.storage(settings, image=_STORAGE_IMAGE, helper=_STORAGE_IMAGE, helm_program=plan.tool("helm"))
    context = folder / "node"
    context.mkdir()
    (context / "default-cni.yaml").write_text(yaml.safe_dump(_NETWORK))
    (context / "default-storage.yaml").write_text(yaml.safe_dump_all(storage))
    recipe = f"FROM {plan.image('node')}\nCOPY default-*.yaml /kind/manifests/\nADD store.tar /kind/store/\n"
    (context / "Dockerfile").write_text(recipe)
    shell.run(["tar", "-C", store, "-cf", context / "store.tar", "."])
    images.build(engine, tag="slipway-test/node:1", dockerfile=context / "Dockerfile", context=context, phase=phase)
    return "slipway-test/node:1"
