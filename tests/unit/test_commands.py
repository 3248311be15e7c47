"""Every command that a message or a document names can be typed as it stands there: Invoke's own parser decides."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from invoke.exceptions import ParseError
from invoke.parser import Parser
from invoke.parser.context import ParserContext
from invoke.program import Program

import cli
import tasks
from slipway.settings import ROOT

CODE = [*sorted((ROOT / "slipway").rglob("*.py")), *sorted((ROOT / "cluster" / "git").rglob("*.py")), ROOT / "cli.py"]
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

# What stands for something that is known only when the message is said; anything else stands for a word.
FILLED = {"what": "profile", "asked": "full", "command": "up", "TASK": "status", "words": "status", "named": " --name second"}

# Words that no sentence goes on with: they stand for what is typed.
WORD = "WORD"
WORDS = {WORD, "BRANCH", "COMMAND", "ENV", "ID", "NAME", "RELEASE", "SERVICE", "X.Y.Z"}

# A sentence may be about the program itself.
ABOUT = re.compile(r"(writes|makes|is|goes|when|line)\b|\.\.\.")

# Where a command ends that stands in a sentence without marks of its own.
ENDS = re.compile(r"[\n\"();,`]|: |\s#|\s{3}|\.(\s|$)|\?|:?$|\./invoke")


def filled(expression: str, file: Path) -> str:
    """What stands for an expression."""
    if expression == "name":
        return {"cli.py": "status"}.get(file.name, WORD)
    return FILLED.get(expression, WORD)


def said(file: Path) -> Iterator[str]:
    """Every text in a module, as it is said; what is filled in is a word."""
    tree = ast.parse(file.read_text())
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if id(node) not in parts:
            yield from text(node, file)
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "command":
            yield from (f"`./invoke {words}`" for one in alternatives(node.args[0]) for words in text(one, file))


def text(node: ast.AST, file: Path) -> Iterator[str]:
    """What a node says, if it is a text."""
    if isinstance(node, ast.JoinedStr):
        yield "".join(
            str(part.value) if isinstance(part, ast.Constant) else filled(ast.unparse(part.value), file)
            for part in node.values
            if isinstance(part, ast.Constant | ast.FormattedValue)
        )
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def alternatives(node: ast.expr) -> Iterator[ast.expr]:
    """What an expression can be."""
    for one in (node.body, node.orelse) if isinstance(node, ast.IfExp) else (node,):
        yield from alternatives(one) if one is not node else (node,)


def commands(text: str) -> Iterator[tuple[str, bool]]:
    """The words behind ./invoke; and whether all of them are the command's, or the sentence may go on."""
    marked = re.compile(r"`([^`\n]*\./invoke [^`\n]+)`|^\$ (.+)$", re.MULTILINE)
    for found in marked.finditer(text):
        for command in re.findall(r"\./invoke (.*?)(?= && |\)|  +#|$)", found[1] or found[2]):
            if not ABOUT.match(command):
                yield command, True
    for found in re.finditer(r"\./invoke (?=\S)", marked.sub("", text)):
        rest = marked.sub("", text)[found.end() :]
        if not ABOUT.match(rest):
            end = ENDS.search(rest)
            yield rest[: end.start() if end else None], False


def blocks(text: str) -> Iterator[str]:
    """A document, and its blocks of commands as commands."""
    yield re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for block in re.findall(r"```(?:sh|console|bash)\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            if "./invoke " in line:
                yield f"$ {line.removeprefix('$ ')}"


def parses(words: list[str]) -> bool:
    """Whether these words, and nothing less, are a command."""
    program = Program(namespace=tasks.namespace)
    core = ParserContext(args=[*program.core_args(), *program.task_args()])
    try:
        _, *found = Parser(contexts=tasks.namespace.to_contexts(), initial=core).parse_argv(cli.spelled(words, tasks.namespace))
    except (ParseError, ValueError):
        return False
    return len(found) < 2 and all(not one.missing_positional_args for one in found)


def typed(command: str, *, whole: bool) -> bool:
    """Whether a command can be typed; a sentence may go on behind its last flag, or what stands for a value."""
    words = [FILLED.get(word, word) for word in shlex.split(command.replace("'", " "))]
    own = [number for number, word in enumerate(words) if word.startswith("-") or word in WORDS]
    least = max(own, default=0)
    return any(parses(words[:end]) for end in range(len(words), len(words) - 1 if whole else least, -1))


FOUND = sorted(
    {
        (file.relative_to(ROOT).as_posix(), command, whole)
        for file in (*CODE, *TEXTS)
        for text in (said(file) if file.suffix == ".py" else blocks(file.read_text()))
        for command, whole in commands(text)
    }
)


@pytest.mark.parametrize(("file", "command", "whole"), FOUND)
def test_every_command_that_is_named_can_be_typed_as_it_stands_there(file: str, command: str, whole: bool) -> None:
    assert typed(command, whole=whole), f"{file}: ./invoke {command}"


def test_no_document_has_a_line_typed_that_linux_and_macos_take_differently() -> None:
    lines = [line for file in TEXTS for line in re.findall(r"^\$ .+$", file.read_text(), re.MULTILINE)]
    assert any("perl -pi" in line for line in lines)
    # The sed of macOS takes the word behind -i for what a copy is called.
    assert [line for line in lines if re.search(r"\bsed\b.* -\w*i", line)] == []


def test_the_commands_of_all_kinds_are_found() -> None:
    assert len(FOUND) > 150
    there = {command.split()[0] for _, command, _ in FOUND}
    assert {"up", "push", "merge", "release.cut", "approve", "promote", "rollback", "ci.runs"} <= there


def test_the_words_of_a_command_that_gets_its_instance_are_found(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("""f"{settings.command(f'rollback {env}' if env else 'up')} goes back; {command('status', name)} tells\"""")
    assert [one for told in said(module) for one, _ in commands(told)] == ["rollback WORD", "up", "status"]


@pytest.mark.parametrize(
    ("command", "whole"),
    [
        ("rolback prod", True),
        ("rollback --environment prod", True),
        ("rollback", False),
        ("approve v0.2.0 lead", True),
        ("promote --to prod --frm stage by lead", False),
        ("release.finish", False),
        ("status WORD shows it", False),
    ],
)
def test_one_that_could_not_be_typed_would_be_found(command: str, whole: bool) -> None:
    assert not typed(command, whole=whole)


def test_a_word_that_may_be_left_out_stands_first() -> None:
    assert cli.spelled(["push", "feature/x", "--to", "dev"], tasks.namespace) == ["push", "--branch", "feature/x", "--to", "dev"]
    several = ["dev", "catalog", "cart", "--ci"]
    assert cli.spelled(several, tasks.namespace) == ["dev", "--service", "catalog", "--service", "cart", "--ci"]
    several = ["images.build", "cart", "--json"]
    assert cli.spelled(several, tasks.namespace) == ["images.build", "--service", "cart", "--json"]
    for words in (
        [],
        ["dev"],
        ["dev", "--ci"],
        ["push"],
        ["push", "--to", "dev"],
        ["push", "status"],
        ["status", "x"],
        ["merge", "feature/x"],
        ["no", "x"],
    ):
        assert cli.spelled(words, tasks.namespace) == words


def test_a_sentence_may_go_on_behind_a_command() -> None:
    assert typed("rollback --env dev goes back", whole=False)
    assert list(commands("see ./invoke policy. Or `./invoke up`, then ./invoke status")) == [
        ("up", True),
        ("policy", False),
        ("status", False),
    ]
