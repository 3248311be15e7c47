"""Git as the product calls it: real repositories in temporary folders, nobody's configuration, no credential to be seen."""

from __future__ import annotations

import base64
import logging
import os
import subprocess
from pathlib import Path

import pytest

from slipway import git
from slipway.errors import CommandFailed

AUTHOR = git.Identity("somebody", "somebody@example")
REMOTE = git.Remote("http://git.localhost:8080/app.git", "pipeline", "hunter2")


def commit(at: Path, name: str, content: str = "1", message: str = "Change") -> str:
    (at / name).parent.mkdir(parents=True, exist_ok=True)
    (at / name).write_text(content)
    git.stage(at, [name])
    return git.commit(at, message, identity=AUTHOR)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    at = tmp_path / "tree"
    git.init(at, branch="main")
    return at


@pytest.fixture
def bare(tmp_path: Path) -> git.Remote:
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", tmp_path / "bare.git"], check=True)
    return git.Remote(str(tmp_path / "bare.git"))


def test_credentials_go_to_their_own_server_and_are_in_no_url_or_argument(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    environ = git.environment(REMOTE)
    token = base64.b64encode(b"pipeline:hunter2").decode()
    pairs = {environ[f"GIT_CONFIG_KEY_{n}"]: environ[f"GIT_CONFIG_VALUE_{n}"] for n in range(int(environ["GIT_CONFIG_COUNT"]))}
    assert pairs["http.http://git.localhost:8080/app.git.extraHeader"] == f"Authorization: Basic {token}"
    assert "http.extraHeader" not in pairs
    assert "hunter2" not in repr(REMOTE)
    closed = git.Remote("http://git.localhost:1/app.git", "pipeline", "hunter2")
    with caplog.at_level(logging.DEBUG), pytest.raises(CommandFailed) as caught:
        git.refs(closed)
    for said in (str(caught.value), caplog.text):
        assert "hunter2" not in said
        assert token not in said


def test_names_below_localhost_need_no_name_server() -> None:
    environ = git.environment(REMOTE)
    assert "git.localhost:8080:127.0.0.1" in environ.values()


def test_nobodys_configuration_counts(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("[commit]\n gpgsign = true\n[user]\n name = me\n[core]\n hooksPath = /nowhere\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_AUTHOR_NAME", "me")
    made = commit(tree, "a")
    assert git.log(tree, made)[0].author == "somebody"


def test_a_hook_that_calls_us_does_not_hand_down_its_repository(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = commit(tree, "a")
    other = tmp_path / "other"
    git.init(other, branch="main")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / "index"))
    assert git.resolve(tree, "HEAD") == made


def test_a_revision_that_is_not_there_is_none(tree: Path) -> None:
    assert git.resolve(tree, "HEAD") is None
    assert git.resolve(tree, "--help") is None


def test_a_folder_outside_any_repository_has_no_top(tmp_path: Path) -> None:
    assert git.top_level(tmp_path) is None


def test_every_content_that_files_ever_had_is_told_once(tree: Path) -> None:
    for name, text in (("a/x/file", "1\n"), ("a/y/file", "2\nä\n"), ("b/x/file", "no"), ("a/x/file", "3"), ("a/y/file", "1\n")):
        commit(tree, name, text)
    (tree / "a" / "x" / "file").unlink()
    git.stage(tree, ["a"])
    git.commit(tree, "Remove", identity=AUTHOR)
    assert sorted(git.every(tree, "HEAD", "a/*/file")) == ["1\n", "2\nä\n", "3"]
    assert git.every(tree, "HEAD", "c/*") == ()


def test_staging_says_whether_anything_changed(tree: Path) -> None:
    commit(tree, "a", "1")
    assert not git.stage(tree, ["a"])
    (tree / "a").write_text("2")
    assert git.stage(tree, ["a"])


def test_uncommitted_work_is_dirt(tree: Path) -> None:
    commit(tree, "a")
    assert not git.dirty(tree)
    (tree / "new").write_text("1")
    assert git.dirty(tree)


def test_a_push_makes_all_references_or_none(tree: Path, bare: git.Remote) -> None:
    first = commit(tree, "a")
    git.push(tree, bare, {"refs/heads/main": first, "refs/heads/develop": first})
    assert git.refs(bare) == {"refs/heads/main": first, "refs/heads/develop": first}
    second = commit(tree, "b")
    with pytest.raises(git.PushConflict):
        git.push(tree, bare, {"refs/heads/main": second, "refs/heads/other": second}, only_new=True)
    assert git.refs(bare) == {"refs/heads/main": first, "refs/heads/develop": first}


def test_a_push_that_came_second_is_a_conflict(tree: Path, bare: git.Remote, tmp_path: Path) -> None:
    git.push(tree, bare, {"refs/heads/main": commit(tree, "a")})
    git.clone(bare, tmp_path / "other", branch="main")
    git.push(tree, bare, {"refs/heads/main": commit(tree, "b")})
    with pytest.raises(git.PushConflict, match="another push came first"):
        git.push(tmp_path / "other", bare, {"refs/heads/main": commit(tmp_path / "other", "c")})


def test_a_refused_push_carries_the_servers_words(tree: Path, bare: git.Remote) -> None:
    hook = Path(bare.url, "hooks", "pre-receive")
    hook.write_text("#!/bin/sh\necho 'not on a Friday' >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(git.PushRefused, match="not on a Friday"):
        git.push(tree, bare, {"refs/heads/main": commit(tree, "a")})


def test_a_server_that_is_not_there_is_no_refusal(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=r"\./invoke status"):
        git.push(tree, git.Remote(str(tmp_path / "none.git")), {"refs/heads/main": commit(tree, "a")})


def test_an_export_is_the_commit_and_not_the_working_tree(tree: Path, tmp_path: Path) -> None:
    made = commit(tree, "services/a/main.py", "committed")
    commit(tree, "other/b", "1")
    (tree / "services/a/main.py").write_text("dirty")
    (tree / "services/a/new.py").write_text("untracked")
    git.export(tree, made, ["services"], tmp_path / "out")
    assert (tmp_path / "out/services/a/main.py").read_text() == "committed"
    assert [str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()] == [
        "services/a/main.py"
    ]


def test_the_log_tells_trailers(tree: Path) -> None:
    commit(tree, "a", "1", "First")
    made = commit(tree, "envs/dev", "1", "Second\n\nWords.\n\nEnvironment: dev\nVersion: 1.0.0\n")
    newest, first = git.log(tree, "HEAD")
    assert (newest.sha, newest.subject, dict(newest.trailers)) == (made, "Second", {"Environment": "dev", "Version": "1.0.0"})
    assert newest.parents == (first.sha,)
    assert [entry.subject for entry in git.log(tree, "HEAD", paths=["envs"])] == ["Second"]
    assert git.tree(tree, "HEAD") == ("a", "envs/dev")


def test_a_log_says_nothing_of_signatures_whatever_the_repository_is_told(tree: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    (tree / "a").touch()
    git.stage(tree, ["a"])
    made = git.commit(tree, "Signed", identity=AUTHOR, key=key)
    subprocess.run(["git", "-C", tree, "config", "log.showSignature", "true"], check=True)
    assert [entry.sha for entry in git.log(tree, "HEAD")] == [made]


def test_the_terminal_is_never_asked() -> None:
    environ = {**os.environ, **git.environment()}
    assert environ["GIT_TERMINAL_PROMPT"] == "0"


def diverged(tree: Path, name: str, content: str) -> tuple[str, str]:
    """Two commits with a common parent: one writes "here" into a file, the other one what is said."""
    commit(tree, "base")
    subprocess.run(["git", "-C", tree, "checkout", "-q", "-b", "side"], check=True)
    brought = commit(tree, name, content)
    subprocess.run(["git", "-C", tree, "checkout", "-q", "main"], check=True)
    return commit(tree, "file", "here"), brought


def test_a_merge_needs_no_working_tree_and_moves_no_branch(tree: Path) -> None:
    into, brought = diverged(tree, "other", "there")
    merged = git.merge(tree, into, brought, "Merge side\n\nWhy: because\n", identity=AUTHOR)
    found = git.log(tree, merged)[0]
    assert (found.parents, found.author, found.subject) == ((into, brought), "somebody", "Merge side")
    assert git.tree(tree, merged) == ("base", "file", "other")
    assert git.resolve(tree, "main") == into


def test_a_merge_that_needs_a_person_names_the_files(tree: Path) -> None:
    into, brought = diverged(tree, "file", "there")
    with pytest.raises(git.MergeConflict, match="both sides change file") as caught:
        git.merge(tree, into, brought, "Merge", identity=AUTHOR)
    assert caught.value.paths == ("file",)


def test_a_merge_of_what_is_not_there_is_no_conflict(tree: Path) -> None:
    into = commit(tree, "base")
    with pytest.raises(CommandFailed):
        git.merge(tree, into, "0" * 39 + "1", "Merge", identity=AUTHOR)


def test_a_file_is_called_what_git_calls_its_content_in_a_commit(tree: Path) -> None:
    (tree / "rules.yaml").write_bytes(b"limit: 1\r\n")
    git.stage(tree, ["rules.yaml"])
    made = git.commit(tree, "Rules", identity=git.Identity("a", "a@b"))
    assert git.hashed(tree / "rules.yaml") == git.content(tree, made, "rules.yaml") != ""
    (tree / "rules.yaml").write_bytes(b"limit: 2\r\n")
    assert git.hashed(tree / "rules.yaml") != git.content(tree, made, "rules.yaml")


def test_a_commit_without_a_note_has_an_empty_one(tree: Path) -> None:
    made = commit(tree, "base")
    assert git.note(tree, made, kind="ci") == ""
    somebody = ["-c", "user.name=somebody", "-c", "user.email=somebody@example"]
    subprocess.run(["git", "-C", tree, *somebody, "notes", "--ref=ci", "add", "-m", "passed", made], check=True)
    assert git.note(tree, made, kind="ci") == "passed\n"


def test_the_branch_that_is_checked_out_is_known_before_its_first_commit_and_a_commit_alone_is_none(tree: Path) -> None:
    assert git.branch(tree) == "main"
    made = commit(tree, "a")
    subprocess.run(["git", "-C", tree, "checkout", "-q", "--detach", made], check=True)
    assert git.branch(tree) == ""
    subprocess.run(["git", "-C", tree, "checkout", "-q", "-b", "release/v0.2.0"], check=True)
    assert git.branch(tree) == "release/v0.2.0"


def test_a_push_tells_the_server_its_options_and_an_empty_commit_removes_a_reference(tree: Path, bare: git.Remote) -> None:
    made = commit(tree, "file")
    server = Path(bare.url)
    subprocess.run(["git", "-C", server, "config", "receive.advertisePushOptions", "true"], check=True)
    hook = server / "hooks" / "pre-receive"
    hook.write_text('#!/bin/sh\necho "$GIT_PUSH_OPTION_COUNT $GIT_PUSH_OPTION_0" >> told\n')
    hook.chmod(0o755)
    git.push(tree, bare, {"refs/heads/feature/x": made}, options={"deploy": "dev"})
    git.push(tree, bare, {"refs/heads/feature/x": ""})
    assert (server / "told").read_text() == "1 deploy=dev\n0 \n"
    assert git.refs(bare) == {}
