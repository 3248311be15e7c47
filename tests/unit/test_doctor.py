from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slipway import doctor, engine, git, registry, survey, tools
from slipway.doctor import Check
from slipway.machine import GIB, Machine
from slipway.settings import Settings, load
from slipway.survey import Running, Survey
from tests.unit.fake_cluster import FakeEngine
from tests.unit.fakes import Screen

TILT = "0.37.6"

LINUX = Machine(
    system="linux",
    architecture="amd64",
    distribution="debian",
    name="Debian 12",
    root=True,
    systemd=False,
    cores=2,
    memory=8 * GIB,
    memory_available=6 * GIB,
    missing_capabilities=(),
    cgroup=2,
    inotify_instances=1024,
    inotify_watches=524288,
    routes=(),
)
ENGINE = Running(
    name="Docker 28",
    address="unix:///var/run/docker.sock",
    here=True,
    cores=2,
    memory=8 * GIB,
    missing_capabilities=(),
    builds="",
)
GOOD = Survey(
    machine=LINUX,
    engine=ENGINE,
    no_engine="",
    programs={"docker": "28.2.2", "git": "2.39.5", "go": "1.26.8", "ssh-keygen": "installed", "tilt": TILT},
    tilt_wanted=TILT,
    tilt_page=True,
    go_wanted="1.26.3",
    home=Path("/home/x/.local/share/slipway"),
    home_free=50 * 10**9,
    images_free=None,
    cached=False,
    made=False,
    running=False,
    http_port=8080,
    registry_port=5001,
    now=2000.0,
    newest=1000.0,
    python="3.11.7",
)


def checks(seen: Survey, **options: Any) -> dict[str, Check]:
    found = doctor.examine(SETTINGS, seen=seen, **options)
    names = [check.name for check in found]
    assert len(names) == len(set(names)), "a check is named twice"
    return {check.name: check for check in found}


def on(**facts: Any) -> Survey:
    return replace(GOOD, machine=replace(LINUX, **facts))


SETTINGS: Settings = load(environ={"SLIPWAY_HOME": "/nowhere"})


def test_a_good_machine_passes_every_check_for_every_source() -> None:
    for source in ("auto", "pull", "build"):
        assert {check.level for check in checks(GOOD, source=source).values()} == {"ok"}


def test_every_check_that_is_not_well_has_a_cure_and_only_those() -> None:
    bad = replace(
        on(cores=1, memory=GIB, cgroup=0, root=False, inotify_instances=128),
        home_free=10**9,
        programs={"docker": "", "git": "", "go": "", "ssh-keygen": "", "tilt": ""},
    )
    for check in checks(bad, source="build").values():
        assert bool(check.cure) == (check.level != "ok"), check
        assert check.ok == (check.level != "fail")


def test_too_little_memory_is_refused_with_numbers() -> None:
    check = checks(on(memory=2 * GIB, memory_available=1 * GIB), source="pull")["memory"]
    assert not check.ok
    assert check.found == "2.0 GiB in all, 1.0 GiB free; a full instance needs 3.5 GiB"


def test_a_minimal_instance_needs_less_memory() -> None:
    seen = on(memory=3 * GIB, memory_available=3 * GIB)
    assert not checks(seen, source="pull", profile="full")["memory"].ok
    assert checks(seen, source="pull", profile="minimal")["memory"].ok


def test_a_profile_nobody_measured_needs_what_the_largest_needs() -> None:
    assert not checks(on(memory=3 * GIB, memory_available=3 * GIB), source="pull", profile="new")["memory"].ok


def test_memory_that_others_use_is_refused_but_not_what_this_instance_uses_itself() -> None:
    seen = on(memory_available=1 * GIB)
    assert not checks(seen)["memory"].ok
    assert checks(replace(seen, running=True))["memory"].ok


def test_compilers_need_memory_of_their_own_unless_their_work_is_cached() -> None:
    seen = on(memory=3.75 * GIB, memory_available=3.75 * GIB)
    assert "building from source needs 4.0 GiB" in checks(seen, source="build")["memory"].found
    assert not checks(seen, source="build")["memory"].ok
    assert checks(replace(seen, cached=True), source="build")["memory"].ok


def test_the_memory_of_an_engine_in_a_virtual_machine_counts() -> None:
    seen = replace(GOOD, engine=replace(ENGINE, memory=2 * GIB))
    assert "2.0 GiB in all" in checks(seen)["memory"].found
    assert not checks(seen)["memory"].ok


def test_too_little_disk_is_refused_with_numbers_for_a_source_build() -> None:
    check = checks(replace(GOOD, home_free=20 * 10**9), source="build")["disk"]
    assert not check.ok
    assert check.found == "20.0 GB free for /home/x/.local/share/slipway, 21.0 GB needed"


def test_pulled_or_cached_images_need_less_disk() -> None:
    seen = replace(GOOD, home_free=12 * 10**9)
    assert checks(seen, source="pull")["disk"].ok
    assert not checks(seen, source="build")["disk"].ok
    assert checks(replace(seen, cached=True), source="build")["disk"].ok


def test_while_the_source_is_open_only_what_every_source_needs_is_refused() -> None:
    assert checks(replace(GOOD, home_free=12 * 10**9))["disk"].level == "warn"
    assert checks(replace(GOOD, home_free=5 * 10**9))["disk"].level == "fail"


@pytest.mark.parametrize("source", ["auto", "build", "pull"])
def test_an_instance_that_is_there_is_repaired_on_a_disk_that_would_hold_no_new_one(source: str) -> None:
    full = replace(GOOD, home_free=10**9, images_free=10**9, cached=True)
    seen = checks(replace(full, made=True), source=source)
    assert (seen["disk"].level, seen["engine disk"].level) == ("ok" if source == "pull" else "warn", "ok")
    assert not checks(full, source=source)["engine disk"].ok


NO_GO = {**GOOD.programs, "go": ""}


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("go", replace(GOOD, programs=NO_GO)),
        ("image builds", replace(GOOD, engine=replace(ENGINE, builds="no client can. Install buildx."))),
        ("engine", replace(on(missing_capabilities=("CAP_SYS_RESOURCE",)), engine=None, programs=NO_GO)),
    ],
)
def test_what_only_building_needs_is_no_reason_to_refuse_an_instance_that_is_built(name: str, seen: Survey) -> None:
    for changes, level in (({"made": True, "cached": True}, "warn"), ({"made": True}, "fail"), ({"cached": True}, "fail")):
        assert checks(replace(seen, **changes), source="build")[name].level == level


@pytest.mark.parametrize(
    ("name", "seen", "source"),
    [
        ("go", replace(GOOD, programs=NO_GO), "build"),
        ("memory", on(memory=2 * GIB), "pull"),
        ("memory", on(memory_available=GIB), "pull"),
        ("cgroup", on(cgroup=1), "pull"),
    ],
)
def test_another_source_or_profile_is_a_cure_only_for_what_is_still_to_be_made(name: str, seen: Survey, source: str) -> None:
    fresh, there = (checks(replace(seen, made=made), source=source)[name].cure for made in (False, True))
    assert ", or " in fresh and "--" in fresh
    assert there and "--" not in there and there.removesuffix(".") in fresh


def test_an_instance_whose_images_were_pulled_needs_nothing_compiled() -> None:
    seen = replace(GOOD, made=True, engine=replace(ENGINE, builds="no client can. Install buildx."))
    assert checks(seen, source="pull")["image builds"].level == "warn"
    assert checks(replace(seen, made=False), source="pull")["image builds"].level == "fail"


def test_the_disk_of_the_engine_is_judged_by_itself_when_it_is_another_one() -> None:
    seen = replace(GOOD, home_free=16 * 10**9, images_free=10**9)
    found = checks(seen, source="build")
    assert found["disk"].ok
    assert found["engine disk"].found == "1.0 GB free for the engine's images, 6.0 GB needed"
    assert not found["engine disk"].ok


def test_no_engine_that_can_be_started_is_no_failure() -> None:
    check = checks(replace(GOOD, engine=None))["engine"]
    assert check.ok and "`up` installs and starts" in check.found


def test_no_engine_and_no_right_to_install_one_is_refused_with_what_to_do() -> None:
    check = checks(replace(GOOD, engine=None, no_engine="Install Docker Desktop."))["engine"]
    assert (check.level, check.cure) == ("fail", "Install Docker Desktop.")


def test_an_engine_that_needs_the_shim_needs_go_to_compile_it() -> None:
    seen = replace(on(missing_capabilities=("CAP_SYS_RESOURCE",)), engine=None)
    assert checks(seen)["engine"].ok
    assert not checks(replace(seen, programs={**GOOD.programs, "go": ""}))["engine"].ok


def test_a_running_engine_that_cannot_give_every_capability_is_refused() -> None:
    seen = replace(GOOD, engine=replace(ENGINE, missing_capabilities=("CAP_SYS_RESOURCE",)))
    check = checks(seen)["capabilities"]
    assert not check.ok and "CAP_SYS_RESOURCE" in check.found


def test_an_engine_on_another_machine_is_warned_about() -> None:
    assert checks(replace(GOOD, engine=replace(ENGINE, here=False)))["engine place"].level == "warn"


def test_a_docker_client_that_cannot_build_is_refused() -> None:
    assert not checks(replace(GOOD, engine=replace(ENGINE, builds="no client can. Install buildx.")))["image builds"].ok


def test_the_upstream_node_does_not_start_on_control_groups_version_1() -> None:
    assert not checks(on(cgroup=1), source="pull")["cgroup"].ok
    assert checks(on(cgroup=1), source="build")["cgroup"].ok
    assert not checks(on(cgroup=0), source="build")["cgroup"].ok


def test_a_node_image_of_the_users_own_pins_may_start_on_version_1() -> None:
    own = replace(SETTINGS, pins=Path("/etc/company/pins.toml"))
    found = doctor.examine(own, seen=on(cgroup=1), source="pull")
    assert next(check for check in found if check.name == "cgroup").ok


def test_a_mac_is_not_asked_for_what_its_engines_virtual_machine_has() -> None:
    assert checks(on(system="darwin", cgroup=0))["cgroup"].ok


def test_low_inotify_limits_are_raised_by_root_and_named_to_others() -> None:
    assert "`up` raises it to 512" in checks(on(inotify_instances=128))["inotify"].found
    check = checks(on(inotify_instances=128, root=False))["inotify"]
    assert (check.level, check.cure) == ("warn", "Raise it: `sudo sysctl -w fs.inotify.max_user_instances=512`.")


def test_raising_limits_writes_only_what_is_too_low(tmp_path: Path) -> None:
    raised = doctor.raise_limits(on(inotify_instances=128), folder=tmp_path)
    assert raised == ["fs.inotify.max_user_instances from 128 to 512"]
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("max_user_instances", "512")]


def test_limits_stay_when_this_process_may_not_raise_them(tmp_path: Path) -> None:
    assert doctor.raise_limits(on(inotify_instances=128, root=False), folder=tmp_path) == []
    assert doctor.raise_limits(on(inotify_instances=128), folder=tmp_path / "not" / "there") == []


def test_one_core_is_slow_but_no_reason_to_refuse() -> None:
    assert checks(on(cores=1))["cores"].level == "warn"


@pytest.mark.parametrize(
    ("go", "level"), [("", "fail"), ("1.19.8", "fail"), ("1.22.0", "warn"), ("1.26.3", "ok"), ("1.100.0", "ok")]
)
def test_a_source_build_needs_go_or_one_that_can_fetch_it(go: str, level: str) -> None:
    seen = replace(GOOD, programs={**GOOD.programs, "go": go})
    assert checks(seen, source="build")["go"].level == level
    assert "go" not in checks(seen, source="pull")


def test_commits_cannot_be_signed_without_ssh_keygen() -> None:
    lacks = checks(replace(GOOD, programs={**GOOD.programs, "ssh-keygen": ""}))["ssh-keygen"]
    assert (lacks.ok, "openssh-client" in lacks.cure) == (False, True)
    assert "ssh-keygen" not in checks(GOOD)


def test_git_must_be_there_and_the_folder_a_checkout() -> None:
    assert not checks(replace(GOOD, programs={**GOOD.programs, "git": ""}))["git"].ok
    for old in ("2.17.1", "2.37.9"):  # the oldest that merges without a working tree is 2.38
        assert not checks(replace(GOOD, programs={**GOOD.programs, "git": old}))["git"].ok
    assert "no checkout" in checks(replace(GOOD, newest=0.0))["git"].found


def test_an_old_python_is_refused() -> None:
    assert not checks(replace(GOOD, python="3.9.2"))["python"].ok


def test_kind_needs_a_docker_command() -> None:
    assert not checks(replace(GOOD, programs={**GOOD.programs, "docker": ""}))["docker"].ok


@pytest.mark.parametrize(
    ("version", "page", "system", "said"),
    [
        (TILT, True, "linux", TILT),
        (TILT, False, "linux", f"{TILT}, with a plain page; `./invoke up --tilt` tries for its own again"),
        ("", False, "linux", f"none yet; `./invoke up --tilt` compiles {TILT} in the background, or `./invoke dev` when"),
        ("0.1.2", True, "linux", f"0.1.2, {TILT} wanted; `./invoke up --tilt` compiles {TILT}"),
        ("", False, "darwin", f"none yet; `./invoke dev` needs {TILT} on the PATH"),
    ],
)
def test_tilt_is_named_with_the_command_that_compiles_it_and_nobody_has_to_have_it(
    version: str, page: bool, system: str, said: str
) -> None:
    seen = replace(on(system=system), programs={**GOOD.programs, "tilt": version}, tilt_page=page)
    check = checks(seen, source="build")["tilt"]
    assert check.level == "ok" and check.found.startswith(said)


class Tilts:
    """A machine with Tilts of several kinds, each of which says which it is."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings = replace(SETTINGS, home=home)
        self.path: Path | None = None
        monkeypatch.setattr(tools, "find_on_path", lambda *_: self.path)

    def compiled(self, key: str, version: str, *, plain: bool = False, used: int = 0) -> None:
        """One in the cache."""
        program = self.settings.cache / "tilt" / key / "tilt"
        self.put(program, version)
        if plain:
            program.with_name(survey.PLAIN_PAGE).write_text("no registry")
        os.utime(program.parent, (used, used))

    def put(self, program: Path, version: str) -> Path:
        """One anywhere."""
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\n[ "$TILT_DEV_DIR" = {program.parent} ] && echo "v{version}, built "\n')
        program.chmod(0o755)
        return program

    def seen(self) -> tuple[str, bool]:
        """What was found."""
        taken = survey.take(self.settings)
        return taken.programs["tilt"], taken.tilt_page


def test_the_tilt_that_is_named_is_the_one_that_would_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "find", lambda _: None)
    tilts = Tilts(tmp_path / "home", monkeypatch)
    assert tilts.seen() == ("", False)
    tilts.compiled(".0000.part", "9.9.9")
    assert tilts.seen() == ("", False)
    tilts.compiled("plain", "1.0.0", plain=True, used=300)
    assert tilts.seen() == ("1.0.0", False)
    tilts.path = tilts.put(tmp_path / "bin" / "tilt", "2.0.0")
    assert tilts.seen() == ("2.0.0", True)
    tilts.compiled("old", "3.0.0", used=100)
    tilts.compiled("new", "4.0.0", used=200)
    assert tilts.seen() == ("4.0.0", True)


@pytest.fixture
def survey_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Survey]:
    """Look at this machine, with an engine that says this of itself; the state folder is a fresh one."""

    def take(root: Path = SETTINGS.root, **info: str) -> Survey:
        found = FakeEngine() if info else None
        if found:
            found.__dict__ |= {"info": {"ServerVersion": "28", **info}, "build_cli": None}
        monkeypatch.setattr(engine, "find", lambda _: found)
        monkeypatch.setattr(registry, "find", lambda _: None)
        return survey.take(replace(SETTINGS, home=tmp_path / "home", root=root))

    return take


def test_the_newest_commit_is_known_whatever_the_user_has_told_git(
    survey_of: Callable[..., Survey], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "gitconfig"
    own.write_text("[log]\n\tshowSignature = true\n[gpg]\n\tformat = nonsense\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(own))
    tree = tmp_path / "tree"
    git.init(tree, branch="main")
    (tree / "a").touch()
    assert survey_of(tree).newest == 0.0
    git.stage(tree, ["a"])
    git.commit(tree, "First", identity=git.Identity("somebody", "somebody@example"))
    assert survey_of(tree).newest == pytest.approx(time.time(), abs=60.0)


def test_only_what_was_compiled_to_its_end_is_cached(survey_of: Callable[..., Survey], tmp_path: Path) -> None:
    kept = tmp_path / "home" / "cache"
    assert not survey_of().cached
    (kept / "locks").mkdir(parents=True)
    (kept / "locks" / "go-0123.lock").touch()
    (kept / "go" / ".0123.part").mkdir(parents=True)
    assert not survey_of().cached
    (kept / "go" / "0123").mkdir()
    assert survey_of().cached


def test_a_disk_of_the_engine_that_this_user_may_not_look_at_is_not_judged(
    survey_of: Callable[..., Survey], monkeypatch: pytest.MonkeyPatch
) -> None:
    exists = Path.exists

    def refused(path: Path) -> bool:
        if path == Path("/closed/docker"):
            raise PermissionError(13, "Permission denied", str(path))
        return exists(path)

    monkeypatch.setattr(Path, "exists", refused)
    assert survey_of(DockerRootDir="/closed/docker").images_free is None


def test_a_taken_port_is_no_failure_but_said() -> None:
    check = checks(replace(GOOD, http_port=8081))["ports"]
    assert check.ok and check.found == "8080 is taken, 8081 is used instead"


def test_routes_over_the_clusters_own_networks_are_warned_about() -> None:
    check = checks(on(routes=(ipaddress.IPv4Network("10.0.0.0/8"),)))["routes"]
    assert check.level == "warn" and "10.0.0.0/8" in check.found
    assert checks(on(routes=(ipaddress.IPv4Network("192.168.0.0/16"),)))["routes"].ok


def test_a_clock_behind_the_newest_commit_is_warned_about() -> None:
    check = checks(replace(GOOD, now=1000.0, newest=1000.0 + 7200))["clock"]
    assert check.level == "warn" and check.found.startswith("2.0 h behind")


def test_require_refuses_with_the_numbers_and_the_cure_of_every_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = replace(on(memory=2 * GIB, memory_available=GIB), home_free=10**9)
    monkeypatch.setattr(survey, "take", lambda _: bad)
    with pytest.raises(doctor.Unfit) as refused:
        doctor.require(SETTINGS, profile="full", source="pull", progress=Screen().progress)
    said = str(refused.value)
    assert "a full instance needs 3.5 GiB" in said and "6.0 GB needed" in said and "--profile=minimal" in said


def test_require_raises_limits_and_says_so_and_passes_warnings_on(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = [on(inotify_instances=128, cores=1), on(cores=1)]
    monkeypatch.setattr(survey, "take", lambda _: taken.pop(0))
    monkeypatch.setattr(doctor, "raise_limits", lambda _: ["fs.inotify.max_user_instances from 128 to 512"])
    screen = Screen()
    doctor.require(SETTINGS, profile="full", source="pull", progress=screen.progress)
    assert "raised fs.inotify.max_user_instances from 128 to 512" in screen.text
    assert "warning: cores: 1, 2 wanted" in screen.text
    assert taken == []


def test_checks_are_shown_a_line_each_with_the_cure_below() -> None:
    screen = Screen()
    doctor.show(
        [Check("disk", False, "fail", "1 GB free", "Free some."), Check("git", True, "ok", "2.39")], screen.progress.console
    )
    assert screen.lines == ["✗ disk         1 GB free", "               Free some.", "✓ git          2.39"]


def test_the_oldest_go_that_the_recipes_allow_is_read_from_them() -> None:
    assert survey.parts(survey._go_wanted(SETTINGS)) >= (1, 26)  # pyright: ignore[reportPrivateUsage]
