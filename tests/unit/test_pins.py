"""Every version stands once in cluster/versions.toml; where a tool needs it a second time, both must agree."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from slipway.settings import ROOT, load

# Which module, in whose go.mod, is which pin.
MODULES = {
    "kubernetes": ("node", "k8s.io/kubernetes"),
    "coredns": ("node", "github.com/coredns/coredns"),
    "kind": ("node", "sigs.k8s.io/kind"),
    "etcd": ("node", "go.etcd.io/etcd/server/v3"),
    "containerd": ("containerd", "github.com/containerd/containerd/v2"),
    "local-path": ("platform", "github.com/rancher/local-path-provisioner"),
    "argocd": ("platform", "github.com/argoproj/argo-cd/v3"),
    "helm": ("platform", "helm.sh/helm/v3"),
    "alertmanager": ("platform", "github.com/prometheus/alertmanager"),
    "kube-state-metrics": ("platform", "k8s.io/kube-state-metrics/v2"),
    "registry": ("platform", "github.com/distribution/distribution/v3"),
    "actionlint": ("actionlint", "github.com/rhysd/actionlint"),
    "tilt": ("tilt", "github.com/tilt-dev/tilt"),
}
VERSIONS = load(environ={}).versions

# What is pulled under another name than its version has.
PULLED = {"node": "kubernetes-pull", "python-build": "python"}


def required(recipe: str, module: str) -> str:
    """The version of a module in a recipe's go.mod, without the leading v."""
    text = (ROOT / "cluster" / "go" / recipe / "go.mod").read_text()
    [version] = re.findall(rf"^\s*(?:require )?{re.escape(module)} v(\S+)", text, re.MULTILINE)
    return version


@pytest.mark.parametrize("pin", MODULES)
def test_the_built_module_is_the_pinned_version(pin: str) -> None:
    pinned = VERSIONS["versions"][pin].removeprefix("v")
    # kubeadm names etcd's image with a build number after the version.
    assert required(*MODULES[pin]) == re.sub(r"-\d+$", "", pinned)


def test_the_built_prometheus_is_the_pinned_version() -> None:
    # Its module is numbered 0.MAJORMINOR.PATCH: 3.9.1 is v0.309.1.
    major, minor, patch = VERSIONS["versions"]["prometheus"].split(".")
    assert required("platform", "github.com/prometheus/prometheus") == f"0.{major}{int(minor):02d}.{patch}"


def test_the_staging_modules_of_kubernetes_are_of_its_release() -> None:
    text = (ROOT / "cluster" / "go" / "node" / "go.mod").read_text()
    staging = set(re.findall(r"^\s*k8s\.io/\S+ (?:=> \S+ )?v(0\.\d+\.\d+)$", text, re.MULTILINE)) - {"0.0.0"}
    minor, patch = VERSIONS["versions"]["kubernetes"].split(".")[1:]
    assert f"0.{minor}.{patch}" in staging
    replaced = set(re.findall(r"=> k8s\.io/\S+ v(\S+)$", text, re.MULTILINE))
    assert replaced == {f"0.{minor}.{patch}"}


@pytest.mark.parametrize("name", VERSIONS["pull"])
def test_what_is_pulled_has_the_version_that_is_built(name: str) -> None:
    tag = re.sub(r"@.*", "", VERSIONS["pull"][name]).rpartition(":")[2].removeprefix("v")
    pinned = VERSIONS["versions"][PULLED.get(name, name)]
    assert re.match(rf"{re.escape(pinned)}(?![\d.])", tag), f"{name}: {tag} is pulled, {pinned} is built"


def test_the_pulled_node_is_of_the_minor_version_that_is_built() -> None:
    pins = VERSIONS["versions"]
    assert pins["kubernetes"].split(".")[:2] == pins["kubernetes-pull"].split(".")[:2]


def test_every_version_is_pinned_exactly() -> None:
    for name, version in VERSIONS["versions"].items():
        assert re.fullmatch(r"v?[\w.]+(-\d+)?", version), name
        assert version not in ("latest", "stable", "main"), name


LOCKS = sorted(
    [
        *ROOT.glob("requirements*.txt"),
        *(ROOT / "services").glob("**/*requirements.txt"),
        *(ROOT / "loadtests").glob("*requirements.txt"),
        *(ROOT / "cluster").glob("**/*requirements.txt"),
    ]
)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_requirement_is_locked_with_its_hash_and_names_no_host(lock: Path) -> None:
    text = lock.read_text()
    blocks = re.split(r"^(?=[A-Za-z])", text, flags=re.MULTILINE)[1:]
    assert blocks
    assert all("==" in block and "--hash=sha256:" in block for block in blocks)
    assert "://" not in text


def test_the_version_of_slipway_is_the_same_everywhere() -> None:
    from slipway import __version__

    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == __version__
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()
