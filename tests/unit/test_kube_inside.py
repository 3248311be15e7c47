"""What containers say, and what a program prints that is run in one; the library's answers are made up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes
import pytest
import urllib3.exceptions
from kubernetes.client import ApiException, CoreV1Api

from slipway.kube import Kube, KubeError


class Log:
    """A log that comes in parts, and then ends or breaks."""

    def __init__(self, *parts: bytes, breaks: Exception | None = None) -> None:
        self.parts, self.breaks, self.closed = parts, breaks, False

    def stream(self, _: int) -> Iterator[bytes]:
        yield from self.parts
        if self.breaks:
            raise self.breaks

    def close(self) -> None:
        self.closed = True


class Program:
    """A program in a container: what the library's web socket says of it."""

    def __init__(self, out: str = "", err: str = "", code: Any = 0, *, ends: bool = True) -> None:
        self.out, self.err, self.code, self.ends, self.closed = out, err, code, ends, False
        self.released, self.sock = False, self

    def run_forever(self, timeout: float) -> None:
        assert timeout > 0

    def shutdown(self) -> None:
        self.released = True

    def is_open(self) -> bool:
        return not self.ends

    def read_stdout(self) -> str:
        return self.out

    def read_stderr(self) -> str:
        return self.err

    @property
    def returncode(self) -> int:
        if isinstance(self.code, Exception):
            raise self.code
        return self.code

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def kube(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kube:
    monkeypatch.setattr(Kube, "_client", object())
    return Kube(tmp_path / "kubeconfig", "context")


def said(kube: Kube, log: Log | Exception, monkeypatch: pytest.MonkeyPatch, **more: Any) -> tuple[list[bytes], dict[str, Any]]:
    asked: dict[str, Any] = {}

    def read(_: CoreV1Api, pod: str, namespace: str, **options: Any) -> Log:
        asked.update(options, pod=pod, namespace=namespace)
        if isinstance(log, Exception):
            raise log
        return log

    monkeypatch.setattr(CoreV1Api, "read_namespaced_pod_log", read)
    return list(kube.log_lines("cart-1", namespace="stage", container="cart", since=1.2, **more)), asked


def test_lines_are_whole_however_the_log_comes_in_parts(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(b"on", b"e\ntwo\nth", b"ree")
    lines, asked = said(kube, log, monkeypatch)
    assert lines == [b"one", b"two", b"three"]
    assert (asked["since_seconds"], asked["follow"], asked["container"]) == (2, False, "cart")
    assert log.closed


def test_following_ends_quietly_when_nothing_is_said_and_reading_does_not(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    silence = urllib3.exceptions.ReadTimeoutError(None, "", "silence")  # type: ignore[arg-type]
    lines, asked = said(kube, Log(b"one\n", breaks=silence), monkeypatch, follow=True, quiet=2.0)
    assert (lines, asked["_request_timeout"][1]) == ([b"one"], 2.0)
    with pytest.raises(KubeError, match="stage/cart-1 cannot be read"):
        said(kube, Log(b"one\n", breaks=silence), monkeypatch)


def test_a_log_that_is_not_there_or_breaks_off_is_an_error(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KubeError, match=r"the log of stage/cart-1 cannot be read \(Not Found\)"):
        said(kube, ApiException(status=404, reason="Not Found"), monkeypatch)
    log = Log(b"one\n", breaks=urllib3.exceptions.ProtocolError("gone"))
    with pytest.raises(KubeError, match="ProtocolError"):
        said(kube, log, monkeypatch, follow=True)
    assert log.closed


def run(kube: Kube, program: Program | Exception, monkeypatch: pytest.MonkeyPatch) -> str:
    def stream(_: object, pod: str, namespace: str, **options: Any) -> Program:
        assert (pod, namespace, options["command"], options["container"]) == (
            "postgresql-0",
            "stage",
            ["psql", "-c"],
            "postgresql",
        )
        if isinstance(program, Exception):
            raise program
        return program

    monkeypatch.setattr(kubernetes.stream, "stream", stream)
    return kube.execute("postgresql-0", ["psql", "-c"], namespace="stage", container="postgresql", timeout=3)


def test_what_a_program_prints_comes_back(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program("7\n", "NOTICE: hm")
    assert run(kube, program, monkeypatch) == "7\n"
    assert (program.closed, program.released) == (True, True)


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (Program(err="one\nFATAL: no\n", code=2), "psql in stage/postgresql-0 failed: FATAL: no"),
        (Program(code=2), "failed: it ended with 2"),
        (Program("7\n", code=ValueError("invalid literal for int() with base 10: 'no such file'")), "failed: no such file"),
        (Program("7\n", code=TypeError("None")), "failed: the connection broke before it had ended"),
        (Program("7\n", ends=False), "did not end within 3 s"),
        (
            ApiException(status=0, reason="Handshake status 404 Not Found -+-+- {'x': 1}"),
            "cannot be run: Handshake status 404 Not",
        ),
        (OSError("no route"), "cannot be run: no route"),
    ],
)
def test_a_program_that_did_not_do_its_work_is_an_error(
    kube: Kube, program: Program | Exception, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KubeError, match=words):
        run(kube, program, monkeypatch)
