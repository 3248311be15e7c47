from __future__ import annotations

import json
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from slipway import sbom
from slipway.sbom import Debian, Materials

STATUS = """\
Package: libssl3t64
Status: install ok installed
Architecture: amd64
Source: openssl (3.5.7-1)
Version: 3.5.7-1~deb13u3
Description: Secure Sockets Layer toolkit
 more lines

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1

Package: base-files
Status: install ok installed
Architecture: amd64
Version: 13.8+deb13u7
"""
RELEASE = 'NAME="Debian GNU/Linux"\nVERSION_ID="13"\nID=debian\n'
LOCK = """\
# comment
Annotated_Types==0.8.0 \\
    --hash=sha256:{b} \\
    --hash=sha256:{a}
    # via pydantic
uvicorn[standard]==0.54.0 --hash=sha256:{a}
""".format(a="a" * 64, b="b" * 64)


def bill(**changes: Any) -> str:
    materials = Materials(
        "debian-13", (Debian("libc6", "2.41-12+deb13u4", "amd64", "glibc"),), {"Annotated.Types": "0.8.0"}, "3.13.5"
    )
    said: dict[str, Any] = {
        "service": "catalog",
        "version": "1.2.3",
        "commit": "c0ffee",
        "digest": f"sha256:{'1' * 64}",
        "lock": sbom.hashes(LOCK),
        "epoch": 1767225600,
        **changes,
    }
    return sbom.bill(said.pop("materials", materials), **said)


def test_debians_own_files_say_what_is_installed() -> None:
    found = sbom.debian(STATUS, RELEASE)
    assert found.distro == "debian-13"
    assert found.debian == (
        Debian("base-files", "13.8+deb13u7", "amd64", ""),
        Debian("libssl3t64", "3.5.7-1~deb13u3", "amd64", "openssl"),
    )


def test_materials_survive_being_written_down() -> None:
    found = sbom.debian(STATUS, RELEASE)
    assert sbom.load(json.loads(json.dumps(found.document))) == found


def test_a_lock_tells_the_hashes_of_each_package() -> None:
    assert sbom.hashes(LOCK) == {"annotated-types": ["a" * 64, "b" * 64], "uvicorn": ["a" * 64]}


def test_a_bill_is_valid_cyclonedx_and_names_everything_by_its_package_url() -> None:
    text = bill()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    urls = {one.get("purl") for one in json.loads(text)["components"]}
    assert "pkg:deb/debian/libc6@2.41-12%2Bdeb13u4?arch=amd64&distro=debian-13&upstream=glibc" in urls
    assert "pkg:pypi/annotated-types@0.8.0" in urls


def test_a_bill_names_the_service_its_version_and_its_commit() -> None:
    said = json.loads(bill())
    own = next(one for one in said["components"] if one["type"] == "application")
    assert (own["name"], own["version"], own["pedigree"]["commits"]) == ("catalog", "1.2.3", [{"uid": "c0ffee"}])
    assert said["metadata"]["component"]["purl"] == f"pkg:oci/catalog@sha256:{'1' * 64}"


def test_the_same_image_has_the_same_bill_and_another_image_another_serial_number() -> None:
    assert bill() == bill()
    assert json.loads(bill())["metadata"]["timestamp"].startswith("2026-01-01")
    serials = {json.loads(text)["serialNumber"] for text in (bill(), bill(digest=f"sha256:{'2' * 64}"))}
    assert len(serials) == 2


def test_a_python_that_is_no_debian_package_is_named_all_the_same() -> None:
    assert "pkg:generic/python@3.13.5" in bill()
    debian = Materials("debian-13", (Debian("python3.13", "3.13.5-2", "amd64", ""),), {}, "3.13.5")
    assert "pkg:generic" not in bill(materials=debian)
