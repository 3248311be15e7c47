"""What is checked of a service, in which environment, and what is remembered of it."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from slipway import cache, foreign, images
from slipway.errors import SlipwayError, UsageError
from slipway.progress import Phase
from slipway.records import Source
from slipway.settings import ROOT
from slipway.testing.beside import stores
from slipway.testing.sandbox import STYLE, Access, pack, run

LINT, TEST = "lint", "test"
PARTS = (LINT, TEST)

# What all services share, and whether that is tested too.
SHARED = images.SHARED

# Lines of what a check said that an error repeats.
_TAIL = 25
_LINT_LOCK = "requirements-dev.txt"
_LINTER = "ruff"

# Exit codes of the script below, when it is the style or the tests that fail.
_STYLE_FAILED, _TESTS_FAILED = 3, 4
_SCRIPT = """
cd /src || exit 9
if [ -n "{styled}" ]; then
    ruff check --no-cache --quiet --output-format=concise {styled} || exit 3
    ruff format --no-cache --quiet --check {styled} || exit 3
fi
tests() {{
    PYTHONPATH=/src/services:/src/services/$1 /venv/bin/python -m pytest services/$1/test -c services/pytest.ini \\
        -q --no-header --basetemp=/tmp/pytest-$1 >/tmp/$1.said 2>&1
}}
under_way= code=0
for folder in {tested}; do tests $folder & under_way="$under_way $!"; done
for pid in $under_way; do wait $pid || code=4; done
for folder in {tested}; do echo "-- tests of $folder"; cat /tmp/$folder.said; done
exit $code
"""


class ChecksFailed(SlipwayError):
    """Style or tests say that a service is not right; the message holds the last lines of what they said."""


def check(access: Access, source: Source, service: str, phase: Phase, *, parts: Sequence[str] = PARTS) -> None:
    """Return when a service, and what it shares with the others, is right in style and passes its own tests.

    The same content is checked once: what passed is remembered by the hash of all that went into it.

    Args:
        access: The engine, and where what passed is kept.
        source: The services as the commit has them.
        service: Which of them.
        phase: Told what is done; when it belongs to a run, its log gets all that was said.
        parts: What is checked: "lint", "test" or both.

    Raises:
        ChecksFailed: Something is wrong with the service; the message has the last lines.
        CommandFailed: What the checks need cannot be installed.
        EngineError: The engine cannot run them.
    """
    services, settings = source.folder / "services", access.settings
    style, base, locks = _style(source), access.plan.image("python-build"), _locks(services, service)
    image = images.reference("checks", "1", cache.key(files=[_recipe()], values={**locks, "base": base}))
    marks = settings.folder / "checks"

    def mark(part: str, *folders: str) -> Path:
        return marks / f"{part}-{_key(services, folders, image, style)}"

    wanted = {
        (part, name): mark(part, *dict.fromkeys((name, SHARED)))
        for part in parts
        for name in (service, SHARED)
        if part == LINT or (services / name / "test").is_dir()
    }
    left = {what: file for what, file in wanted.items() if not file.is_file()}
    if not any(name == service for _, name in left):
        phase.say(f"{service} passed with the same content before")
        return
    phase.say("what the checks need")
    _ensure_image(access, image, base=base, locks=locks, phase=phase)
    styled, tested = ([name for part, name in left if part == which] for which in PARTS)
    with stores(access, service if tested else "", phase) as beside:
        phase.say(f"{' and '.join(parts)} of {' and '.join(dict.fromkeys((*styled, *tested)))}")
        script = _SCRIPT.format(styled=" ".join(f"services/{name}" for name in styled), tested=" ".join(tested))
        code, said = run(access, image, script, pack(services, style), beside=beside, phase=phase)
    if code:
        raise ChecksFailed(_failure(service, code, said))
    marks.mkdir(parents=True, exist_ok=True)
    for file in left.values():
        file.touch()
    phase.say(_closing(said) or "right in style")


def _recipe() -> Path:
    return ROOT / "cluster" / "checks" / "Dockerfile"


def _locks(services: Path, service: str) -> dict[str, str]:
    """What is installed for the checks of a service, by the name of the lock: the linter is the installed Slipway's own."""
    made: dict[str, str] = {}
    for name, file in (
        ("requirements.txt", services / service / "requirements.txt"),
        ("test-requirements.txt", services / "test-requirements.txt"),
    ):
        if not file.is_file():
            raise ChecksFailed(f"services/{file.relative_to(services)} is not in this commit. Add it and commit.")
        made[name] = file.read_text()
        try:
            foreign.require_plain(made[name], f"services/{file.relative_to(services)}")
        except UsageError as error:
            raise ChecksFailed(str(error)) from error
    found = re.search(rf"^{_LINTER}==.*?(?=^\S|\Z)", (ROOT / _LINT_LOCK).read_text(), re.MULTILINE | re.DOTALL)
    if found is None:
        raise SlipwayError(f"{_LINT_LOCK} does not lock {_LINTER}. Run `./invoke lock`.")
    return {**made, "lint-requirements.txt": found[0]}


def _ensure_image(access: Access, image: str, *, base: str, locks: Mapping[str, str], phase: Phase) -> None:
    if access.engine.has_image(image):
        return
    with cache.locked(access.settings.cache, image.replace("/", "-"), phase=phase), tempfile.TemporaryDirectory() as folder:
        if access.engine.has_image(image):
            return
        for name, text in locks.items():
            (Path(folder) / name).write_text(text)
        context = Path(folder)
        images.build(access.engine, tag=image, dockerfile=_recipe(), context=context, phase=phase, arguments={"BASE": base})


def _style(source: Source) -> bytes:
    """What ruff goes by: as the commit has it, else as the installed Slipway has it."""
    own = source.folder / STYLE
    return (own if own.is_file() else ROOT / STYLE).read_bytes()


def _key(services: Path, folders: Sequence[str], image: str, style: bytes) -> str:
    # All that the container gets, but for the other services: a conftest.py or a ruff.toml beside them counts for each.
    files = [path for path in sorted(services.iterdir()) if path.name in folders or not (path / "main.py").is_file()]
    values = {"folders": folders, "image": image, "style": hashlib.sha256(style).hexdigest(), "script": _SCRIPT}
    return cache.key(files=files, values=values)


def _failure(service: str, code: int, said: str) -> str:
    what = {_STYLE_FAILED: f"the style of {service} is not right", _TESTS_FAILED: f"tests of {service} failed"}
    ended = what.get(code, f"the checks of {service} ended with exit code {code}" + (" (out of memory?)" if code == 137 else ""))
    cure = "`./invoke format` mends most of it." if code == _STYLE_FAILED else "`./invoke test.services` runs the same here."
    tail = "\n".join(f"    {line}" for line in said.strip().splitlines()[-_TAIL:])
    return "\n".join(part for part in (f"{ended}:", tail, cure) if part)


def _closing(said: str) -> str:
    """How many tests passed, as the last line of each pytest says."""
    return ", ".join(re.findall(r"^(\d+ passed.*?) in [\d.]+s", said, re.MULTILINE))
