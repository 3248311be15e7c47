"""What becomes of images in a registry of the user's own: a registry in memory, and real checkouts."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from slipway import git, images, oci, parts, publishing, sbom
from slipway.errors import UsageError
from slipway.images import Built
from slipway.progress import Progress
from slipway.publishing import Asked, Published
from slipway.settings import ROOT, Settings
from tests.unit.fake_registry import HOST, FakeRegistry

SERVICES = ("cart", "catalog")
PLACE = "registry.example.com/shop"
WHEN = "2000-01-01T00:00:00Z"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for name in SERVICES:
        (tmp_path / "services" / name).mkdir(parents=True)
        (tmp_path / "services" / name / "main.py").write_text("")
    git.init(tmp_path, branch="main")
    commit(tmp_path, "services", "Begin")
    return Settings(tmp_path, tmp_path / "home", "x", rules=ROOT / "cluster" / "policy.yaml")


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> FakeRegistry:
    return FakeRegistry(monkeypatch)


Make = Callable[[str], Mapping[str, Built]]


@pytest.fixture
def make(settings: Settings, monkeypatch: pytest.MonkeyPatch, registry: FakeRegistry) -> Make:
    """Images of ours, other ones for other content, each with its bill; the next publication finds them built.

    They say that they were made of the last commit.
    """

    def built(content: str) -> Mapping[str, Built]:
        made: dict[str, Built] = {}
        for name in SERVICES:
            layer = f"{name} {content}".encode()
            described = oci.describe(layer, "application/vnd.oci.image.layer.v1.tar")
            oci.put_blob(HOST, name, layer, described)
            labels = {images.REVISION_LABEL: head(settings)}
            config = oci.put_json(HOST, name, {"made of": content, "config": {"Labels": labels}}, oci.CONFIG)
            document = {"schemaVersion": 2, "mediaType": oci.MANIFEST, "config": vars(config), "layers": [vars(described)]}
            image = oci.put_manifest(f"{HOST}/{name}:{content}", document)
            parts.attach(f"{HOST}/{name}", image, f"bill of {name} {content}".encode(), sbom.MEDIA_TYPE, created=WHEN)
            made[name] = Built(f"{HOST}/{name}", image.digest, content)
        registry.sent.clear()

        def build(_: Settings, services: Sequence[str], **__: Any) -> Mapping[str, Built]:
            return {name: made[name] for name in services}

        monkeypatch.setattr(publishing, "_build", build)
        return made

    return built


def publish(settings: Settings, version: str, *services: str) -> Published:
    return publishing.publish(settings, Asked(PLACE, version, services), progress=Progress(), environ={})


def promote(settings: Settings, release: str) -> Published:
    return publishing.promote(settings, release, registry=PLACE, progress=Progress(), environ={})


def tags(service: str) -> Sequence[str]:
    return [tag for tag in oci.tags("registry.example.com", f"shop/{service}") if not tag.startswith("sha256-")]


def test_images_are_published_byte_for_byte_under_their_version_with_their_bills(
    settings: Settings, make: Make, registry: FakeRegistry
) -> None:
    made = make("first")
    found = publish(settings, "0.2.0-rc.1")
    assert found.origin == f"commit {head(settings)}"
    assert [(one.reference, one.digest, one.new) for one in found.images] == [
        (f"{PLACE}/{name}:0.2.0-rc.1", made[name].digest, True) for name in SERVICES
    ]
    for name in SERVICES:
        assert images.bill(f"{PLACE}/{name}@{made[name].digest}") == f"bill of {name} first"
        ours = registry.manifests[name, made[name].digest]
        assert registry.manifests[f"shop/{name}", made[name].digest] == registry.manifests[f"shop/{name}", "0.2.0-rc.1"] == ours


def test_publishing_again_sends_and_changes_nothing(settings: Settings, make: Make, registry: FakeRegistry) -> None:
    make("first")
    publish(settings, "0.2.0-rc.1")
    registry.sent.clear()
    before = dict(registry.manifests)
    assert not any(one.new for one in publish(settings, "0.2.0-rc.1").images)
    assert registry.sent == [] and registry.manifests == before


def test_a_version_is_never_given_to_another_image_and_nothing_is_sent_for_it(
    settings: Settings, make: Make, registry: FakeRegistry
) -> None:
    make("first")
    publish(settings, "0.2.0-rc.1", "catalog")
    make("second")
    before = dict(registry.manifests)
    with pytest.raises(UsageError, match=r"catalog:0\.2\.0-rc\.1 is another image already .*never used twice"):
        publish(settings, "0.2.0-rc.1")
    assert registry.manifests == before and registry.sent == []


def test_no_version_names_anything_before_every_image_is_there(
    settings: Settings, make: Make, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("first")
    copy = oci.copy

    def broken(source: str, reference: str) -> None:
        if "/catalog" in reference:
            raise oci.RegistryError("the registry went away")
        copy(source, reference)

    monkeypatch.setattr(oci, "copy", broken)
    with pytest.raises(oci.RegistryError):
        publish(settings, "0.2.0-rc.1")
    assert tags("cart") == [] and "shop/cart" in {place for place, _ in registry.manifests}


@pytest.mark.parametrize(("asked", "wrong"), [(Asked(PLACE, "1.0"), "semantic"), (Asked(PLACE, "", ("carts",)), "carts")])
def test_a_version_or_service_that_is_none_is_refused_before_anything_is_built(
    settings: Settings, make: Make, asked: Asked, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("first")
    monkeypatch.setattr(publishing, "_build", lambda *_, **__: pytest.fail("it was built"))
    with pytest.raises(UsageError, match=wrong):
        publishing.publish(settings, asked, progress=Progress(), environ={})


def test_a_promotion_is_one_more_tag_on_the_newest_candidate_and_builds_nothing(
    settings: Settings, make: Make, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in ("1", "9", "10"):
        make(number)
        publish(settings, f"0.2.0-rc.{number}")
    newest = make("10")
    monkeypatch.setattr(publishing, "_build", lambda *_, **__: pytest.fail("it was built"))
    found = promote(settings, "v0.2.0")
    assert (found.version, found.origin) == ("0.2.0", "0.2.0-rc.10")
    assert [(one.reference, one.digest) for one in found.images] == [
        (f"{PLACE}/{name}:0.2.0", newest[name].digest) for name in SERVICES
    ]
    assert registry.sent == []
    assert not any(one.new for one in promote(settings, "v0.2.0").images)


def test_the_candidate_that_was_approved_is_promoted_though_a_newer_one_came(settings: Settings, make: Make) -> None:
    approved = make("1")
    publish(settings, "0.2.0-rc.1")
    make("2")
    publish(settings, "0.2.0-rc.2")
    assert [one.digest for one in promote(settings, "0.2.0-rc.1").images] == [approved[name].digest for name in SERVICES]
    with pytest.raises(UsageError, match="never used twice"):
        promote(settings, "v0.2.0")


def test_a_candidate_that_only_some_services_have_is_not_promoted(settings: Settings, make: Make) -> None:
    make("1")
    publish(settings, "0.2.0-rc.1")
    make("2")
    publish(settings, "0.2.0-rc.2", "cart")
    with pytest.raises(UsageError, match=r"not every service has 0\.2\.0-rc\.2.*images\.promote 0\.2\.0-rc\.1"):
        promote(settings, "v0.2.0")
    with pytest.raises(UsageError, match=r"has no 0\.2\.0-rc\.2 of catalog"):
        promote(settings, "0.2.0-rc.2")
    assert tags("cart") == ["0.2.0-rc.1", "0.2.0-rc.2"]


def without_cart(settings: Settings) -> Settings:
    """The same checkout, at a commit that does not have one of the services."""
    run(settings.root, "checkout", "-q", "-B", "other", "main")
    shutil.rmtree(settings.root / "services" / "cart")
    commit(settings.root, "services", "Without cart")
    return replace(settings)


def test_a_release_has_the_services_of_its_commit_wherever_it_is_promoted_from(settings: Settings, make: Make) -> None:
    made = make("1")
    publish(settings, "0.2.0-rc.1")
    found = promote(without_cart(settings), "v0.2.0")
    assert {one.service: one.digest for one in found.images} == {name: made[name].digest for name in SERVICES}


def test_a_service_that_only_the_release_has_is_missed_wherever_it_is_promoted_from(settings: Settings, make: Make) -> None:
    make("1")
    publish(settings, "0.2.0-rc.1", "catalog")
    elsewhere = without_cart(settings)
    with pytest.raises(UsageError, match=r"no candidate of 0\.2\.0 that every service has"):
        promote(elsewhere, "v0.2.0")
    with pytest.raises(UsageError, match=r"has no 0\.2\.0-rc\.1 of cart"):
        promote(elsewhere, "0.2.0-rc.1")
    assert tags("catalog") == ["0.2.0-rc.1"]


def test_a_service_that_the_release_does_not_have_is_not_missed(settings: Settings, make: Make) -> None:
    made = without_cart(settings)
    make("1")
    publish(made, "0.2.0-rc.1", "catalog")
    run(settings.root, "checkout", "-q", "main")
    assert [one.service for one in promote(settings, "v0.2.0").images] == ["catalog"]


def test_a_checkout_without_the_commit_of_a_release_promotes_nothing(settings: Settings, make: Make, tmp_path: Path) -> None:
    run(settings.root, "clone", "-q", str(settings.root), str(tmp_path / "clone"))
    change(settings.root, "more")
    make("1")
    publish(settings, "0.2.0-rc.1")
    for release in ("v0.2.0", "0.2.0-rc.1"):
        with pytest.raises(UsageError, match=rf"made of {head(settings)}, and this checkout has no such commit.*fetch-depth: 0"):
            promote(replace(settings, root=tmp_path / "clone"), release)
    assert tags("cart") == ["0.2.0-rc.1"]


def test_a_version_that_belongs_to_one_other_image_is_given_to_none(settings: Settings, make: Make) -> None:
    make("old")
    publish(settings, "0.2.0", "catalog")
    make("1")
    publish(settings, "0.2.0-rc.1")
    with pytest.raises(UsageError, match="never used twice"):
        promote(settings, "v0.2.0")
    assert tags("cart") == ["0.2.0-rc.1"]


@pytest.mark.parametrize("release", ["0.2.0-dev.3", "0.2.0-feature-basket.1", "0.2.0-rc", "0.2.0-rc.1.2"])
def test_what_the_policy_lets_not_go_to_prod_is_no_candidate(settings: Settings, make: Make, release: str) -> None:
    make("1")
    publish(settings, release)
    with pytest.raises(UsageError, match=r"REFUSED by rule 'branches': .*\nAllowed: what was published as X\.Y\.Z-rc\.N"):
        promote(settings, release)
    with pytest.raises(UsageError, match=r"no candidate of 0\.2\.0 that every service has"):
        promote(settings, "v0.2.0")


def test_a_release_that_is_none_is_refused(settings: Settings) -> None:
    with pytest.raises(UsageError, match="is no release"):
        promote(settings, "latest")


@pytest.fixture
def checkout(settings: Settings) -> Path:
    """A repository with two commits on main, tagged v0.1.0, and one more on its release branch."""
    at = settings.root
    change(at, "second")
    run(at, "tag", "v0.1.0")
    run(at, "checkout", "-q", "-b", "release/v0.2.0")
    change(at, "release")
    return at


def change(at: Path, content: str) -> None:
    (at / "file").write_text(content)
    commit(at, "file", content)


def commit(at: Path, path: str, said: str) -> None:
    git.stage(at, [path])
    git.commit(at, said, identity=git.Identity("somebody", "somebody@example"))


def head(settings: Settings) -> str:
    return git.resolve(settings.root, "HEAD") or ""


def run(at: Path, *words: str) -> None:
    subprocess.run(["git", "-C", at, *words], check=True, capture_output=True)


def test_a_candidate_of_a_release_counts_the_commits_of_its_branch(settings: Settings, checkout: Path) -> None:
    first = publishing.counted(settings)
    change(checkout, "mended")
    assert (first, publishing.counted(settings)) == ("0.2.0-rc.4", "0.2.0-rc.5")


def test_versions_of_a_branch_grow_though_another_release_is_finished_meanwhile(settings: Settings, checkout: Path) -> None:
    run(checkout, "checkout", "-q", "-b", "release/v0.3.0")
    change(checkout, "further")
    made = [publishing.counted(settings)]
    run(checkout, "checkout", "-q", "main")
    run(checkout, "merge", "-q", "--ff-only", "release/v0.2.0")
    run(checkout, "tag", "v0.2.0")
    run(checkout, "checkout", "-q", "release/v0.3.0")
    change(checkout, "mended")
    made.append(publishing.counted(settings))
    # Neither does the first release of all make a difference, nor a branch that was finished and goes on.
    run(checkout, "tag", "--delete", "v0.1.0", "v0.2.0")
    change(checkout, "mended again")
    made.append(publishing.counted(settings))
    assert made == ["0.3.0-rc.5", "0.3.0-rc.6", "0.3.0-rc.7"]


def test_a_clone_counts_alike(settings: Settings, checkout: Path, tmp_path: Path) -> None:
    run(checkout, "clone", "-q", "--branch=release/v0.2.0", str(checkout), str(tmp_path / "clone"))
    assert publishing.counted(replace(settings, root=tmp_path / "clone")) == publishing.counted(settings)


@pytest.mark.parametrize(("branch", "version"), [("develop", "0.2.0-dev.4"), ("feature/basket", "0.2.0-feature-basket.4")])
def test_other_branches_have_versions_that_are_called_after_them(
    settings: Settings, checkout: Path, branch: str, version: str
) -> None:
    run(checkout, "checkout", "-q", "-b", branch)
    assert publishing.counted(settings) == version


def test_a_branch_without_commits_of_its_own_still_counts_on_main(settings: Settings, checkout: Path) -> None:
    run(checkout, "checkout", "-q", "main")
    first = publishing.counted(settings)
    change(checkout, "more")
    assert first != publishing.counted(settings)


def test_on_main_versions_lead_to_the_release_after_the_last(settings: Settings, checkout: Path) -> None:
    run(checkout, "checkout", "-q", "main")
    change(checkout, "more")
    run(checkout, "tag", "v0.2.0")
    first = publishing.counted(settings)
    change(checkout, "and more")
    assert (first, publishing.counted(settings)) == ("0.3.0-main.4", "0.3.0-main.5")


def test_a_commit_without_a_branch_or_with_one_that_the_policy_does_not_know_has_no_version(
    settings: Settings, checkout: Path, tmp_path: Path
) -> None:
    run(checkout, "checkout", "-q", "-b", "whatever")
    with pytest.raises(UsageError, match="names no branch like whatever"):
        publishing.counted(settings)
    run(checkout, "checkout", "-q", "--detach")
    with pytest.raises(UsageError, match="--version"):
        publishing.counted(settings)


def test_a_history_that_is_cut_short_counts_nothing(settings: Settings, checkout: Path, tmp_path: Path) -> None:
    run(checkout, "clone", "-q", "--depth=1", "--branch=release/v0.2.0", f"file://{checkout}", str(tmp_path / "clone"))
    with pytest.raises(UsageError, match="fetch-depth: 0"):
        publishing.counted(replace(settings, root=tmp_path / "clone"))


def test_the_table_tells_what_is_new(settings: Settings, make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    made = make("first")
    publish(settings, "0.2.0-rc.1", "cart")
    capsys.readouterr()
    publishing.show(publish(settings, "0.2.0-rc.1"), Console(width=160))
    out = capsys.readouterr().out
    assert f"{made['cart'].digest[7:15]}  {PLACE}/cart:0.2.0-rc.1     there already" in out
    assert f"0.2.0-rc.1, made of commit {head(settings)}" in out
