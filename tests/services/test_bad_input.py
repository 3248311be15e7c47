"""Whatever is sent, no service breaks: generated requests get an answer below 500 that says what is wrong."""

from __future__ import annotations

import contextlib
import json
import socket
import string
from typing import Any
from urllib.parse import quote_from_bytes

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slipway import ports
from tests.services.running import Answer, Running

# The process outlives the examples, on purpose: what one request leaves behind may break the next.
PATIENT = settings(max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])

# Numbers that break what is written without thinking of them.
NUMBERS = st.sampled_from([0, -1, 1, 100, 101, 2**31, 2**63, 2**64, 10**40]) | st.integers()

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=60)

ANY_JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)

HEADERS = st.dictionaries(
    st.sampled_from(["Accept", "If-None-Match", "X-Request-ID", "Idempotency-Key", "Cookie", "Range", "Accept-Encoding"]),
    st.text(string.printable.strip() + " ", max_size=80),
    max_size=3,
)


def quoted(text: bytes) -> str:
    return quote_from_bytes(text, safe="")


def encoded(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode(errors="surrogatepass")


def check(answer: Answer) -> None:
    assert answer.status < 500, answer.body
    assert answer.headers["x-request-id"]
    if answer.status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json["detail"]


def value_for(schema: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """Values for a parameter: some that fit, some that nearly do, some that do not at all."""
    low, high = schema.get("minimum", 0), schema.get("maximum", 1000)
    fitting = st.integers(int(low), int(high)) if schema.get("type") == "integer" else st.text(max_size=20)
    return (fitting | NUMBERS | ANY_TEXT | st.binary(max_size=30)).map(encoded)


def test_no_generated_request_breaks_a_described_route(prod: Running) -> None:
    document = prod.ask("/openapi.json").json
    operations = [
        (path, method, operation) for path, methods in document["paths"].items() for method, operation in methods.items()
    ]

    @PATIENT
    @given(st.data())
    def examine(data: st.DataObject) -> None:
        path, method, operation = data.draw(st.sampled_from(operations))
        query: list[str] = []
        for parameter in operation.get("parameters", ()):
            name, schema = parameter["name"], parameter.get("schema", {})
            kinds = [schema, *schema.get("anyOf", ())]
            values = data.draw(st.lists(st.one_of([value_for(kind) for kind in kinds]), min_size=0, max_size=2))
            if parameter["in"] == "path":
                path = path.replace(f"{{{name}}}", quoted(values[0]) if values else "x")
            elif parameter["in"] == "query":
                query += [f"{name}={quoted(value)}" for value in values]
        headers = data.draw(HEADERS)
        body = None
        if "requestBody" in operation:
            body = data.draw(st.binary(max_size=200) | ANY_JSON.map(lambda value: json.dumps(value).encode()))
            headers["Content-Type"] = data.draw(
                st.sampled_from(["application/json", "text/plain", "application/x-www-form-urlencoded"])
            )
        check(prod.ask(f"{path}?{'&'.join(query)}" if query else path, method=method.upper(), body=body, headers=headers))

    examine()


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
