from __future__ import annotations

import pytest
from fastapi import Request, Response

from chassis import cacheable


def answer(body: bytes = b"{}", *, max_age: int = 60, has: str = "") -> Response:
    headers = [(b"if-none-match", has.encode())] if has else []
    return cacheable(Request({"type": "http", "method": "GET", "headers": headers}), body, max_age=max_age)


TAG = answer().headers["etag"]


def test_other_contents_have_another_tag() -> None:
    assert answer().headers["etag"] == TAG
    assert answer(b"[]").headers["etag"] != TAG


@pytest.mark.parametrize("has", [TAG, f"W/{TAG}", f'"other", {TAG}', f'"other",W/{TAG}', "*"])
def test_who_has_it_gets_no_body_but_the_same_headers(has: str) -> None:
    found = answer(has=has)
    assert (found.status_code, found.body) == (304, b"")
    assert (found.headers["etag"], found.headers["cache-control"]) == (TAG, "public, max-age=60")


@pytest.mark.parametrize("has", ['"other"', TAG.strip('"'), "W/", ","])
def test_who_has_something_else_gets_it(has: str) -> None:
    assert answer(has=has).status_code == 200


def test_what_must_not_be_kept_is_asked_for_each_time() -> None:
    assert answer(max_age=0).headers["cache-control"] == "no-cache"


def test_what_never_changes_is_not_asked_for_again() -> None:
    request = Request({"type": "http", "method": "GET", "headers": []})
    found = cacheable(request, b"a{}", max_age=60, media_type="text/css", unchanging=True)
    assert found.headers["cache-control"] == "public, max-age=60, immutable"
    assert found.headers["content-type"] == "text/css; charset=utf-8"
