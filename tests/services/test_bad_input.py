"""Whatever is sent, no service breaks: generated requests get an answer below 500 that says what is wrong."""

from __future__ import annotations

import contextlib
import json
import socket
import string
from collections import Counter
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_from_bytes, urlencode

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slipway import ports
from tests.services.routes import ANY_JSON, ANY_TEXT, NUMBERS, PLATFORM, fitting
from tests.services.running import Answer, Running

# The process outlives the examples, on purpose: what one request leaves behind may break the next.
PATIENT = settings(max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])

# What no header may hold (RFC 9110, 5.5): a server refuses such a request before anybody is asked.
CONTROLS = bytes({*range(32), 127} - {ord("\t")})

# Any of them, with what HTTP lets through; and what a browser, or a program, really says.
HEADERS = st.dictionaries(
    st.sampled_from(["Accept", "If-None-Match", "X-Request-ID", "Idempotency-Key", "Cookie", "Range", "Accept-Encoding"]),
    st.sampled_from(["text/html", "application/json", "*/*"]) | st.text(string.printable.strip() + " ", max_size=80),
    max_size=3,
)

BODIES = ["application/json", "text/plain", "application/x-www-form-urlencoded"]


def quoted(text: bytes) -> str:
    return quote_from_bytes(text, safe="")


def encoded(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode(errors="surrogatepass")


def check(answer: Answer, *, accepted: str = "") -> None:
    """Errors are problem documents; who asks for HTML may get a page instead."""
    assert answer.status < 500, answer.body
    assert answer.headers["x-request-id"]
    if answer.status >= 400 and not ("html" in accepted and answer.headers["content-type"].startswith("text/html")):
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json["detail"]


def value_for(schema: Mapping[str, Any], document: Mapping[str, Any], *, fits: bool) -> st.SearchStrategy[bytes]:
    """Values for a parameter: those that fit, or some that do, some that nearly do, and some that do not at all."""
    fitted = fitting(schema, document)
    return (fitted if fits else fitted | NUMBERS | ANY_TEXT | st.binary(max_size=30)).map(encoded)


def body_for(schema: Mapping[str, Any], document: Mapping[str, Any], *, media_type: str, fits: bool) -> st.SearchStrategy[bytes]:
    """Bodies: likewise."""
    whole = fitting(schema, document)
    if media_type.endswith("urlencoded"):
        sent = whole.map(lambda value: urlencode(value, errors="replace").encode() if isinstance(value, dict) else b"=")
    else:
        sent = whole.map(lambda value: json.dumps(value).encode())
    return sent if fits else sent | ANY_JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=200)


def test_no_generated_request_breaks_a_described_route(prod: Running) -> None:
    document = prod.ask("/openapi.json").json
    operations = [
        (path, method, operation) for path, methods in document["paths"].items() for method, operation in methods.items()
    ]
    done = Counter[str]()

    @PATIENT
    @given(st.data())
    def examine(data: st.DataObject) -> None:
        path, method, operation = data.draw(st.sampled_from(operations))
        fits, query, headers, body = data.draw(st.booleans()), list[str](), data.draw(HEADERS), None
        for parameter in operation.get("parameters", ()):
            name, schema = parameter["name"], parameter.get("schema", {})
            least = 1 if fits and parameter.get("required") else 0
            values = data.draw(st.lists(value_for(schema, document, fits=fits), min_size=least, max_size=1 if fits else 2))
            if parameter["in"] == "path":
                path = path.replace(f"{{{name}}}", quoted(values[0]) if values else "x")
            elif parameter["in"] == "query":
                query += [f"{name}={quoted(value)}" for value in values]
            elif parameter["in"] == "header" and values:  # with what HTTP lets through
                headers[name] = values[0].translate(None, CONTROLS).decode("latin-1")
        if content := operation.get("requestBody", {}).get("content"):
            media_type = data.draw(st.sampled_from(sorted(content)))
            schema = content[media_type].get("schema", {})
            body = data.draw(body_for(schema, document, media_type=media_type, fits=fits))
            headers["Content-Type"] = media_type if fits else data.draw(st.sampled_from([media_type, *BODIES]))
        answer = prod.ask(f"{path}?{'&'.join(query)}" if query else path, method=method.upper(), body=body, headers=headers)
        check(answer, accepted=headers.get("Accept", ""))
        if PLATFORM not in operation.get("tags", ()) and answer.status < 400:
            done[f"{method} {path}"] += 1

    examine()
    assert done, "the service refused whatever was generated: nothing is proved about what it does"


def test_no_made_up_path_breaks_it(prod: Running) -> None:
    @PATIENT
    @given(
        st.lists(st.binary(max_size=20), max_size=4), st.binary(max_size=40), st.sampled_from(["GET", "HEAD", "POST", "PATCH"])
    )
    def examine(parts: list[bytes], query: bytes, method: str) -> None:
        target = f"/{'/'.join(map(quoted, parts))}?{quote_from_bytes(query, safe='&=')}"
        answer = prod.ask(target, method=method)
        assert answer.status < 500, answer.body

    examine()


def test_what_is_not_http_is_turned_away_and_forgotten(prod: Running) -> None:
    @PATIENT
    @given(st.binary(min_size=1, max_size=200))
    def examine(garbage: bytes) -> None:
        connection = socket.create_connection((ports.LOOPBACK, prod.port), timeout=10)
        with contextlib.closing(connection), contextlib.suppress(ConnectionError):
            connection.sendall(garbage + b"\r\n\r\n")
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(65536)
            assert not answer.startswith(b"HTTP/1.1 5"), answer

    examine()
    assert prod.ask("/healthz").status == 200


def test_nothing_that_was_sent_left_a_traceback(prod: Running) -> None:
    assert [line for line in prod.log() if "exception" in line] == []
