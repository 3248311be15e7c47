"""How registries are spoken to: real requests to a small server on this machine that asks who is there."""

from __future__ import annotations

import base64
import contextlib
import http.server
import io
import json
import threading
from collections.abc import Callable, Generator, Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from slipway import login, ports
from slipway.login import Credentials, Door

BASIC = f"Basic {base64.b64encode(b'user:secret').decode()}"
USER = Credentials("user", "secret")

Answer = tuple[int, dict[str, str], bytes]


class Server(http.server.ThreadingHTTPServer):
    """Answers as the test says, and remembers who asked for what how."""

    def __init__(self) -> None:
        super().__init__((ports.LOOPBACK, 0), _Handler)
        self.answer: Callable[[str, str, dict[str, str], bytes], Answer] = lambda *_: (200, {}, b"")
        self.asked: list[tuple[str, str, str]] = []

    @property
    def host(self) -> str:
        return f"{ports.LOOPBACK}:{self.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}/v2"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server  # type: ignore[assignment]

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append((self.command, self.path, self.headers.get("Authorization", "")))
        status, headers, content = self.server.answer(self.command, self.path, dict(self.headers), body)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_PUT = do_POST = _serve

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def serving() -> Generator[Server]:
    with Server() as made:
        threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
        yield made
        made.shutdown()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


def wants_basic(_: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
    if headers.get("Authorization") != BASIC:
        return 401, {"WWW-Authenticate": 'Basic realm="registry"'}, b""
    return 200, {}, body or path.encode()


def wants_token(server: Server) -> Callable[..., Answer]:
    """A registry that takes only the token which its token server gave for what was to be done, once each."""
    spent: set[str] = set()

    def answer(method: str, asked: str, headers: dict[str, str], body: bytes) -> Answer:
        parts = urlsplit(asked)
        if parts.path == "/token":
            fields = parse_qs(parts.query) or parse_qs(body.decode())
            if headers.get("Authorization") != BASIC and fields.get("refresh_token") != ["signed-on"]:
                return 401, {}, b""
            assert fields["service"] == ["the registry"]
            return 200, {}, json.dumps({"token": f"for {fields['scope'][0]} {len(server.asked)}"}).encode()
        repository = parts.path.split("/")[2]
        scope = f"repository:{repository}:{'pull' if method in ('GET', 'HEAD') else 'pull,push'}"
        token = headers.get("Authorization", "")
        if not token.startswith(f"Bearer for {scope}") or token in spent:
            realm = f"http://{server.host}/token"
            return 401, {"WWW-Authenticate": f'Bearer realm="{realm}",service="the registry",scope="{scope}"'}, b""
        return 200, {}, body or b"content"

    answer.spent = spent  # type: ignore[attr-defined]
    return answer


def test_a_registry_that_asks_gets_name_and_password_from_then_on_and_no_other_one_does(server: Server) -> None:
    server.answer = wants_basic
    door = Door()
    door.sign_in(server.host, lambda: USER)
    assert door.request("GET", f"{server.url}/a/manifests/1").status == 200
    assert door.request("GET", f"{server.url}/a/manifests/2").status == 200
    assert [who for _, _, who in server.asked] == ["", BASIC, BASIC]
    with serving() as other:
        other.answer = wants_basic
        assert door.request("GET", f"{other.url}/a/manifests/1").status == 401
        assert [who for _, _, who in other.asked] == [""]


def test_who_is_not_asked_is_not_looked_up(server: Server) -> None:
    door = Door()
    door.sign_in(server.host, lambda: pytest.fail("nobody asked"))
    assert door.request("GET", f"{server.url}/a/manifests/1").status == 200


@pytest.mark.parametrize("who", [None, Credentials(token="signed-on")])
def test_who_has_no_password_gets_the_refusal_of_a_registry_that_wants_one(server: Server, who: Credentials | None) -> None:
    server.answer = wants_basic
    door = Door()
    door.sign_in(server.host, lambda: who)
    assert door.request("GET", f"{server.url}/a/manifests/1").status == 401
    assert len(server.asked) == 1


@pytest.mark.parametrize("who", [USER, Credentials(token="signed-on")])
def test_a_token_is_had_for_name_and_password_or_for_a_sign_on_and_kept_for_its_repository(
    server: Server, who: Credentials
) -> None:
    server.answer = wants_token(server)
    door = Door()
    door.sign_in(server.host, lambda: who)
    for _ in range(2):
        assert door.request("GET", f"{server.url}/a/manifests/1").data == b"content"
    assert door.request("GET", f"{server.url}/b/manifests/1").data == b"content"
    tokens = [path for _, path, _ in server.asked if path.startswith("/token")]
    assert len(tokens) == 2
    assert not any(shown == BASIC for _, path, shown in server.asked if path.startswith("/v2"))


def test_what_needs_more_rights_or_a_fresh_token_is_asked_for_again_and_the_body_sent_whole(server: Server) -> None:
    server.answer = answer = wants_token(server)
    door = Door()
    door.sign_in(server.host, lambda: USER)
    door.request("HEAD", f"{server.url}/a/blobs/sha256:1")
    content = io.BytesIO(b"before the layer")
    content.seek(7)
    assert (
        door.request("PUT", f"{server.url}/a/blobs/uploads/1", body=content, headers={"Content-Length": "9"}).data == b"the layer"
    )
    answer.spent.add(server.asked[-1][2])  # type: ignore[attr-defined]
    assert door.request("PUT", f"{server.url}/a/blobs/uploads/2", body=b"more").data == b"more"


def test_a_token_server_that_refuses_leaves_the_registrys_own_refusal(server: Server) -> None:
    server.answer = wants_token(server)
    door = Door()
    door.sign_in(server.host, lambda: Credentials("user", "wrong"))
    found = door.request("GET", f"{server.url}/a/manifests/1")
    assert found.status == 401 and "Bearer" in found.headers["WWW-Authenticate"]


def test_no_password_leaves_in_the_clear_because_a_registry_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    realms = ["https://tokens.example.com/token", "http://tokens.example.com/token"]

    class Pool:
        def __init__(self, **_: Any) -> None:
            pass

        def request(self, method: str, url: str, **_: Any) -> Any:
            asked.append(url)
            challenge = f'Bearer realm="{realms[0]}",service="x",scope="repository:a:pull"'
            found = {"status": 401, "headers": {"WWW-Authenticate": challenge}, "data": b""}
            return SimpleNamespace(**(found if "/v2/" in url else {"status": 200, "data": b'{"token": "x"}'}))

    monkeypatch.setattr(login.urllib3, "PoolManager", Pool)
    while realms:
        door = Door()
        door.sign_in("registry.example.com", lambda: USER)
        door.request("GET", "https://registry.example.com/v2/a/manifests/1")
        realms.pop(0)
    assert [url for url in asked if "token?" in url] == ["https://tokens.example.com/token?service=x&scope=repository%3Aa%3Apull"]


def test_content_that_lies_elsewhere_is_followed_without_credentials(server: Server) -> None:
    with serving() as elsewhere:
        elsewhere.answer = lambda *_: (200, {}, b"layer")

        def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
            found = wants_basic(method, path, headers, body)
            return (307, {"Location": f"http://{elsewhere.host}/bucket/1?signed=yes"}, b"") if found[0] == 200 else found

        server.answer = answer
        door = Door()
        door.sign_in(server.host, lambda: USER)
        assert door.request("GET", f"{server.url}/a/blobs/sha256:1").data == b"layer"
        assert elsewhere.asked == [("GET", "/bucket/1?signed=yes", "")]
        # An upload is sent where the registry said, or not at all.
        assert door.request("PUT", f"{server.url}/a/blobs/uploads/1", body=b"x").status == 307


def test_a_circle_of_redirects_ends(server: Server) -> None:
    server.answer = lambda _, path, *__: (302, {"Location": path}, b"")
    assert Door().request("GET", f"{server.url}/a/blobs/sha256:1").status == 302
    assert len(server.asked) < 10


def test_no_secret_is_shown_where_credentials_are_printed() -> None:
    assert "secret" not in repr(Credentials("user", "secret", "secret too"))


@pytest.mark.parametrize(
    ("host", "secure", "base"),
    [
        ("localhost:5001", False, "http://127.0.0.1:5001/v2"),
        ("localhost:5001", True, "https://127.0.0.1:5001/v2"),
        ("registry.example.com", False, "https://registry.example.com/v2"),
        ("docker.io", False, "https://registry-1.docker.io/v2"),
    ],
)
def test_a_registry_on_another_machine_always_speaks_tls(host: str, secure: bool, base: str) -> None:
    door = Door()
    door.sign_in(host, lambda: None, secure=secure)
    assert door.base(host) == base
