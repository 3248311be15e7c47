"""Image layers as tar archives whose bytes depend on what is in them alone: not on the engine, the time or the machine."""

from __future__ import annotations

import contextlib
import copy
import gzip
import hashlib
import json
import re
import tarfile
import tempfile
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import PurePosixPath
from typing import IO, Any, cast

from slipway.errors import SlipwayError

# Layers are not compressed: what a compressor makes of the same bytes differs between its versions, and with it the digest.
MEDIA_TYPE = "application/vnd.oci.image.layer.v1.tar"

# Another one for another way to write the same files.
FORMAT = 1

_METADATA = re.compile(r"/site-packages/[^/]+\.dist-info/METADATA$")
_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Layer:
    """A layer.

    Attributes:
        digest: Of its bytes ("sha256:..."); as it is not compressed, this is also its diff id.
        size: In bytes.
        file: Its bytes, to be read from the start.
        packages: The Python packages that are installed in it: version by name.
        interpreter: The version of the Python that they are installed for; "" where there are none.
    """

    digest: str
    size: int
    file: IO[bytes]
    packages: Mapping[str, str]
    interpreter: str = ""


class _Hashed:
    """A file to write to that knows the digest of what was written."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.sum, self.size = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self.sum.update(data)
        self.size += len(data)
        return self.file.write(data)

    @property
    def digest(self) -> str:
        return f"sha256:{self.sum.hexdigest()}"


@contextmanager
def canonical(chunks: Iterable[bytes], *, at: str, epoch: int) -> Generator[Layer]:
    """The layer that adds one folder to an image, for as long as the block lasts.

    Names are sorted, everything belongs to root, was changed at one moment and is either executable or not.

    Args:
        chunks: A tar archive of the folder, as an engine hands it out.
        at: Where the folder lies in the image.
        epoch: The moment, in seconds since 1970.

    Raises:
        SlipwayError: It holds what no service needs: a device, a pipe, a file with special rights.
    """
    above = PurePosixPath(at.lstrip("/")).parent
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as made:
        given.writelines(chunks)
        given.seek(0)
        hashed = _Hashed(made)
        packages: dict[str, str] = {}
        interpreter = ""
        with (
            tarfile.open(fileobj=given) as source,
            tarfile.open(fileobj=cast("Any", hashed), mode="w|", format=tarfile.PAX_FORMAT) as target,
        ):
            for name, member in sorted((str(above / entry.name), entry) for entry in source.getmembers()):
                content = source.extractfile(member) if member.isreg() or member.islnk() else None
                plain = _plain(name, member, source, epoch)
                if content and _METADATA.search(name):
                    said = HeaderParser().parsestr(content.read().decode(errors="replace"))
                    packages[str(said["Name"])] = str(said["Version"])
                    content.seek(0)
                if content and name == f"{at.lstrip('/')}/pyvenv.cfg":
                    interpreter = "".join(re.findall(r"^version = (\S+)", content.read().decode(), re.MULTILINE))
                    content.seek(0)
                target.addfile(plain, content)
        made.seek(0)
        yield Layer(hashed.digest, hashed.size, made, dict(sorted(packages.items())), interpreter)


def _plain(name: str, member: tarfile.TarInfo, source: tarfile.TarFile, epoch: int) -> tarfile.TarInfo:
    if member.mode & 0o6000 or not (member.isdir() or member.isreg() or member.issym() or member.islnk()):
        raise SlipwayError(f"/{name} is a device, a pipe or has special rights: no service's image may hold it.")
    made = tarfile.TarInfo(name)
    made.mtime, made.type, made.linkname = epoch, member.type, member.linkname
    if member.islnk():  # the same file under a second name: as a file of its own, whatever the engine made of it
        made.type, made.linkname = tarfile.REGTYPE, ""
        made.size = source.getmember(member.linkname).size
    elif member.isreg():
        made.size = member.size
    made.mode = 0o777 if member.issym() else 0o755 if member.isdir() or member.mode & 0o111 else 0o644
    return made


def unpack(chunks: Iterable[bytes], diff_ids: Sequence[str], use: Callable[[Layer], None]) -> None:
    """Hand out the layers of a saved image, each as it was: a node that has it unpacked knows it by its diff id.

    Args:
        chunks: The image, as an engine saves it.
        diff_ids: The layers that it must have, the lowest first.
        use: Told each of them once.

    Raises:
        SlipwayError: It is another image.
    """
    with tempfile.TemporaryFile() as saved:
        saved.writelines(chunks)
        saved.seek(0)
        with tarfile.open(fileobj=saved) as archive:
            document = archive.extractfile("manifest.json")
            names: list[str] = json.loads(document.read())[0]["Layers"] if document else []
            if len(names) != len(diff_ids):
                raise SlipwayError(f"the engine saved an image of {len(names)} layers instead of {len(diff_ids)}.")
            for name, expected in zip(names, diff_ids, strict=True):
                with _opened(archive, name) as content, tempfile.TemporaryFile() as made:
                    hashed = _Hashed(made)
                    while data := content.read(_CHUNK):
                        hashed.write(data)
                    if hashed.digest != expected:
                        raise SlipwayError(f"the engine saved layer {hashed.digest} instead of {expected}.")
                    made.seek(0)
                    use(Layer(hashed.digest, hashed.size, made, {}))


@contextmanager
def _opened(archive: tarfile.TarFile, name: str) -> Generator[IO[bytes]]:
    member = archive.getmember(name)
    if member.issym():  # a layer that occurs twice
        member = copy.copy(archive.getmember(str(PurePosixPath(name).parent.joinpath(member.linkname))))
    content = archive.extractfile(member)
    if content is None:
        raise SlipwayError(f"the engine saved an image without its layer {name}.")
    with contextlib.closing(content):
        compressed = content.read(len(_GZIP)) == _GZIP  # newer engines keep layers as they pulled them
        content.seek(0)
        yield cast("IO[bytes]", gzip.GzipFile(fileobj=content)) if compressed else content
