"""Where an instance begins: this checkout's last commit, however it was checked out, and only in empty repositories."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slipway import genesis, git, gitops, helm
from slipway.errors import UsageError
from slipway.settings import Settings, load

AUTHOR = git.Identity("somebody", "somebody@example")
FILES = {
    "charts/microservice/Chart.yaml": "name: microservice\nversion: 1.2.3\n",
    "charts/postgresql/Chart.yaml": "name: postgresql\nversion: 0.4.0\n",
    **{f"services/catalog/envs/{env}.yaml": f"told: {env}\n" for env in ("dev", "qa", "stage", "prod")},
    **{f"services/catalog/helm/{env}-values.yaml": "replicas: 1\n" for env in ("dev", "qa", "stage", "prod")},
}
PARTS = (
    genesis.Part("catalog", "0.1.0", "localhost:5001/catalog", "sha256:" + "a" * 64, inputs="sha256:" + "1" * 64),
    genesis.Part("postgresql", "17", "localhost:5001/slipway/postgresql", "sha256:" + "b" * 64, chart="postgresql"),
)


def commit(at: Path, files: dict[str, str]) -> str:
    for name, content in files.items():
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        (at / name).write_text(content)
    git.stage(at, ["."])
    return git.commit(at, "Change", identity=AUTHOR)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    at = tmp_path / "checkout"
    git.init(at, branch="work")
    commit(at, {"README.md": "1"})
    commit(at, FILES)
    return at


def settings(root: Path) -> Settings:
    """The product's own data, with another checkout as the root."""
    real = load()
    (root / "cluster").symlink_to(real.cluster) if not (root / "cluster").exists() else None
    return replace(real, root=root)


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, git.Remote]:
    made: dict[str, git.Remote] = {}
    for name in ("app", "gitops-nonprod", "gitops-prod"):
        at = tmp_path / f"{name}.git"
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", at], check=True)
        made[name] = git.Remote(str(at))
    subprocess.run(["git", "-C", tmp_path / "app.git", "config", "receive.shallowUpdate", "true"], check=True)
    return made


@pytest.fixture(autouse=True)
def rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    def template(chart: Path, *, values: dict[str, Any], **_: object) -> list[dict[str, Any]]:
        return [{"kind": "ConfigMap", "metadata": {"name": values["service"]}, "data": values.get("config")}]

    monkeypatch.setattr(helm, "template", template)


def seed(
    root: Path, remotes: dict[str, git.Remote], environments: tuple[str, ...] = ("dev", "qa", "stage", "prod")
) -> dict[str, str]:
    told = settings(root)
    records = {name: remote for name, remote in remotes.items() if name != "app"}
    return genesis.seed_records(
        told,
        genesis.empty(records),
        commit=genesis.origin(told).commit,
        environments=environments,
        parts=PARTS,
        helm_program=Path("helm"),
    )


def test_a_folder_that_is_no_repository_is_refused_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    with pytest.raises(UsageError, match=r"is not a Git repository(.|\n)*git init"):
        genesis.origin(settings(tmp_path / "plain"))


def test_a_folder_inside_somebody_elses_repository_is_refused(checkout: Path) -> None:
    (checkout / "unpacked").mkdir()
    with pytest.raises(UsageError, match="is not a Git repository"):
        genesis.origin(settings(checkout / "unpacked"))


def test_a_repository_without_a_commit_is_refused_with_the_cure(tmp_path: Path) -> None:
    git.init(tmp_path / "new", branch="main")
    with pytest.raises(UsageError, match=r"has no commit(.|\n)*git commit"):
        genesis.origin(settings(tmp_path / "new"))


def test_uncommitted_work_is_seen_and_not_taken(checkout: Path) -> None:
    told = settings(checkout)
    commit(checkout, {"link": "the link to the data is part of it"})
    assert not genesis.origin(told).dirty
    (checkout / "services/catalog/envs/dev.yaml").write_text("told: lies\n")
    assert genesis.origin(told).dirty
    with genesis.source(told, genesis.origin(told).commit) as taken:
        assert taken.values("catalog", "dev")["config"] == {"told": "dev"}


@pytest.mark.parametrize("how", ["full", "shallow", "worktree", "detached"])
def test_every_kind_of_checkout_seeds_the_application(
    checkout: Path, bare: dict[str, git.Remote], tmp_path: Path, how: str
) -> None:
    root = checkout
    if how == "shallow":
        root = tmp_path / "shallow"
        git.clone(git.Remote(f"file://{checkout}"), root, branch="work", depth=1)
    if how == "worktree":
        root = tmp_path / "linked"
        subprocess.run(["git", "-C", checkout, "worktree", "add", "-q", "-b", "other", root], check=True)
    if how == "detached":
        subprocess.run(["git", "-C", checkout, "checkout", "-q", "--detach"], check=True)
    told = settings(root)
    begun = genesis.origin(told).commit
    assert genesis.seed_app(told, bare["app"], begun)
    assert git.refs(bare["app"]) == {"refs/heads/main": begun, "refs/heads/develop": begun, "refs/tags/v0.1.0": begun}


def test_a_seeding_that_was_cut_off_is_finished(checkout: Path, bare: dict[str, git.Remote]) -> None:
    begun = genesis.origin(settings(checkout)).commit
    git.push(checkout, bare["app"], {"refs/heads/main": begun})
    assert genesis.seed_app(settings(checkout), bare["app"], begun)
    assert git.refs(bare["app"]) == {"refs/heads/main": begun, "refs/heads/develop": begun, "refs/tags/v0.1.0": begun}


def test_what_was_cut_off_before_its_records_goes_on_from_the_commit_it_began_with(
    checkout: Path, bare: dict[str, git.Remote], tmp_path: Path
) -> None:
    first = genesis.origin(settings(checkout)).commit
    genesis.seed_app(settings(checkout), bare["app"], first)
    commit(checkout, {"more": "1"})
    assert genesis.began(settings(checkout), bare["app"]) == first
    git.init(tmp_path / "another", branch="main")
    commit(tmp_path / "another", {"other": "1"})
    with pytest.raises(
        UsageError, match=rf"began with commit {first[:9]}, which this checkout does not have.*invoke down --name second, then"
    ):
        genesis.began(replace(settings(tmp_path / "another"), instance="second"), bare["app"])


def test_a_repository_with_content_is_left_alone(checkout: Path, bare: dict[str, git.Remote]) -> None:
    first = genesis.origin(settings(checkout)).commit
    genesis.seed_app(settings(checkout), bare["app"], first)
    seeded = seed(checkout, bare)
    later = commit(checkout, {"more": "1"})
    assert not genesis.seed_app(settings(checkout), bare["app"], later)
    assert seed(checkout, bare) == {}
    assert git.refs(bare["app"])["refs/heads/main"] == first
    assert git.refs(bare["gitops-prod"]) == {"refs/heads/main": seeded["gitops-prod"]}


def test_every_environment_gets_its_record_in_its_own_repository(checkout: Path, bare: dict[str, git.Remote]) -> None:
    seeded = seed(checkout, bare)
    assert set(seeded) == {"gitops-nonprod", "gitops-prod"}
    for name, environments in {"gitops-nonprod": ("dev", "qa"), "gitops-prod": ("prod", "stage")}.items():
        commit, found = gitops.read(bare[name])
        assert commit == seeded[name]
        assert sorted(found) == [(env, part.name) for env in environments for part in PARTS]
        for env in environments:
            assert found[env, "catalog"].values["config"] == {"told": env}
            assert found[env, "catalog"].record.source_commit == genesis.origin(settings(checkout)).commit
            service = found[env, "catalog"].record
            assert (service.branch, service.inputs, service.lock) == ("main", PARTS[0].inputs, "")
            assert service.release == ("v0.1.0" if env in ("stage", "prod") else "")
            store = found[env, "postgresql"].record
            assert (store.branch, store.inputs, store.release) == ("main", "", "")
            assert (store.chart, store.chart_version, store.version) == ("postgresql", "0.4.0", "17")


def test_a_profile_with_one_environment_leaves_the_other_repository_empty(checkout: Path, bare: dict[str, git.Remote]) -> None:
    assert set(seed(checkout, bare, ("dev",))) == {"gitops-nonprod"}
    assert git.refs(bare["gitops-prod"]) == {}


def test_one_who_comes_second_leaves_the_first_ones_content(
    checkout: Path, bare: dict[str, git.Remote], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = settings(checkout)
    first = genesis.origin(told).commit
    genesis.seed_app(told, bare["app"], first)
    later = commit(checkout, {"more": "1"})
    monkeypatch.setattr(git, "refs", lambda _: {})  # both looked before either pushed
    assert not genesis.seed_app(told, bare["app"], later)


def test_what_an_instance_begins_with_is_signed_by_the_pipeline(
    checkout: Path, bare: dict[str, git.Remote], tmp_path: Path
) -> None:
    told = settings(checkout)
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    remotes = {"gitops-prod": bare["gitops-prod"]}
    begun = genesis.origin(told).commit
    genesis.seed_records(told, remotes, commit=begun, environments=("stage",), parts=PARTS, helm_program=Path("helm"), key=key)
    shown = subprocess.run(
        ["git", "-C", tmp_path / "gitops-prod.git", "cat-file", "commit", "main"], check=True, capture_output=True, text=True
    ).stdout
    assert "BEGIN SSH SIGNATURE" in shown
    assert "Kind: genesis" in shown
    assert "author pipeline <pipeline@slipway.localhost>" in shown
