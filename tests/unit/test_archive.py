from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from typing import Any

import pytest

from slipway import archive
from slipway.errors import SlipwayError

EPOCH = 1767225600


def tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        for info, content in members:
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def member(name: str, content: str = "", *, kind: bytes = tarfile.REGTYPE, **said: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in said.items():
        setattr(info, key, value)
    return info, content.encode()


def written(*members: tuple[tarfile.TarInfo, bytes], at: str = "/app") -> tuple[str, list[tarfile.TarInfo], dict[str, str]]:
    with archive.canonical([tar(*members)], at=at, epoch=EPOCH) as layer:
        data = layer.file.read()
        assert layer.digest == f"sha256:{hashlib.sha256(data).hexdigest()}" and layer.size == len(data)
        with tarfile.open(fileobj=io.BytesIO(data)) as made:
            return layer.digest, made.getmembers(), dict(layer.packages)


def folder(name: str, **said: Any) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, kind=tarfile.DIRTYPE, mode=0o755, **said)


def test_the_same_files_make_the_same_layer_whoever_wrote_them_and_in_whatever_order() -> None:
    one = written(folder("app"), member("app/a", "a", mtime=1, uid=7, uname="me", mode=0o600), member("app/b", "b"))
    other = written(member("app/b", "b", mode=0o664), folder("app", mtime=99, gid=5), member("app/a", "a", mtime=2.5))
    assert one[0] == other[0]
    [top, first, _] = one[1]
    assert (top.name, top.mode, first.name, first.mode) == ("app", 0o755, "app/a", 0o644)
    assert {(info.mtime, info.uid, info.gid, info.uname) for info in one[1]} == {(EPOCH, 0, 0, "")}


def test_other_content_another_name_or_an_executable_bit_make_another_layer() -> None:
    layers = [
        written(folder("app"), member("app/a", "a"))[0],
        written(folder("app"), member("app/a", "b"))[0],
        written(folder("app"), member("app/b", "a"))[0],
        written(folder("app"), member("app/a", "a", mode=0o755))[0],
        written(folder("app"), member("app/a", "a"), at="/opt/app")[0],
    ]
    assert len(set(layers)) == len(layers)


def test_links_stay_and_second_names_of_a_file_become_files() -> None:
    _, members, _ = written(
        folder("app"),
        member("app/z", "content"),
        member("app/a", kind=tarfile.LNKTYPE, linkname="app/z"),
        member("app/link", kind=tarfile.SYMTYPE, linkname="z"),
    )
    kinds = {info.name: (info.type, info.size, info.linkname) for info in members}
    assert kinds["app/a"] == (tarfile.REGTYPE, 7, "")
    assert kinds["app/link"] == (tarfile.SYMTYPE, 0, "z")


@pytest.mark.parametrize("said", [{"mode": 0o4755}, {"kind": tarfile.FIFOTYPE}, {"kind": tarfile.CHRTYPE}])
def test_special_rights_and_devices_are_refused(said: dict[str, Any]) -> None:
    with pytest.raises(SlipwayError, match="/app/odd"):
        written(folder("app"), member("app/odd", **said))


def test_installed_python_packages_are_read_on_the_way() -> None:
    _, members, packages = written(
        folder("venv"),
        member("venv/lib/python3.13/site-packages/b-2.dist-info/METADATA", "Metadata-Version: 2.1\nName: B\nVersion: 2\n\nx"),
        member("venv/lib/python3.13/site-packages/a-1.dist-info/METADATA", "Name: a\nVersion: 1.0\n"),
        member("venv/lib/python3.13/site-packages/a/METADATA", "Name: no\nVersion: 0\n"),
        at="/venv",
    )
    assert packages == {"B": "2", "a": "1.0"}
    assert len(members) == 4


def saved(*layers: bytes, names: Sequence[str] = ()) -> bytes:
    listed = names or [f"{at}/layer.tar" for at in range(len(layers))]
    files = [(f"{at}/layer.tar", content) for at, content in enumerate(layers)]
    manifest = json.dumps([{"Config": "x.json", "Layers": list(listed)}]).encode()
    return tar(*((tarfile.TarInfo(name), content) for name, content in [*files, ("manifest.json", manifest)]))


def unpacked(data: bytes, *expected: bytes) -> list[bytes]:
    found: list[bytes] = []
    ids = [f"sha256:{hashlib.sha256(content).hexdigest()}" for content in expected]
    archive.unpack([data], ids, lambda layer: found.append(layer.file.read()))
    return found


def test_layers_of_a_base_come_out_as_they_went_in() -> None:
    assert unpacked(saved(b"one", b"two"), b"one", b"two") == [b"one", b"two"]


def test_layers_that_an_engine_keeps_compressed_are_known_by_what_is_in_them() -> None:
    assert unpacked(saved(gzip.compress(b"one")), b"one") == [b"one"]


def test_another_layer_than_the_expected_one_is_refused() -> None:
    with pytest.raises(SlipwayError, match="instead of"):
        unpacked(saved(b"one"), b"other")
    with pytest.raises(SlipwayError, match="2 layers instead of 1"):
        unpacked(saved(b"one", b"two"), b"one")
