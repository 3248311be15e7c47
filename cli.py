"""The edge between Slipway and Invoke.

Doors turn errors into sentences and exit codes; the list of tasks reads like a manual.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import itertools
import logging
import os
import re
import shlex
import signal
import stat
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from json import dumps
from pathlib import Path
from typing import Any, NoReturn

from invoke.collection import Collection
from invoke.exceptions import Exit, ParseError
from invoke.parser.context import ParserContext
from invoke.program import Program
from invoke.tasks import Task, task

ROOT = Path(__file__).resolve().parent

# What the list shows, in this order.
GROUPS = ("Start", "Deliver", "Look", "Trace", "Load", "Images", "Test", "Measure")

USAGE_CODE = 2
INTERRUPTED_CODE = 130
UNREAD_CODE = 141  # as a shell says that a program ended because nobody reads what it prints
TERMINATED_CODE = 143
UNFINISHED = "`./invoke up` goes on from here; `./invoke down` removes what there is."

# A command in a text, and its words.
_COMMAND = re.compile(rf"{re.escape('./invoke')} ([^`]+)")

_RED, _BOLD, _PLAIN = "\033[31;1m", "\033[1m", "\033[0m"

Body = Callable[..., "int | None"]
Door = Task[Any]


class Terminated(KeyboardInterrupt):
    """Another program asked this one to end (SIGTERM), or its terminal is gone (SIGHUP); all is ended as it is on Ctrl-C."""


def door(
    group: str, *, help: Mapping[str, str] | None = None, unfinished: str = "", word: str = "", code: int = 0, **options: Any
) -> Callable[[Body], Door]:
    """A task of a group: its body may raise SlipwayError, and returns the exit code or None.

    Args:
        group: The heading in `./invoke --list` under which it stands.
        unfinished: What to do after an interrupt, when it leaves something behind; the commands in it get the flag `name`.
        help: What flags mean; those that the task does not have are left out.
        word: A flag whose value may also be given as the first word, and may be left out: `push BRANCH`. One that may be
            given several times takes every word that follows: `dev SERVICE SERVICE`.
        code: What it exits with whenever it does not come to its end, whoever's fault that is: for a task whose other exit
            codes say something of their own. By default that is what the error says.
        **options: Anything else that Invoke's own `task` takes.
    """

    def decorate(body: Body) -> Door:
        @functools.wraps(body)
        def guarded(*args: Any, **flags: Any) -> None:
            _in_own_environment()
            left = functools.partial(_naming, unfinished, flags.get("name", ""))
            answered = _call(functools.partial(body, *args, **flags), unfinished=left, code=code)
            if answered:
                raise Exit(code=answered)

        flags = inspect.signature(body).parameters
        told = {name: meaning for name, meaning in (help or {}).items() if name in flags}
        made: Door = task(help=told, **options)(guarded)
        made.group, made.word, made.code = group, word, code  # type: ignore[attr-defined]
        return made

    return decorate


def _naming(text: str, instance: str) -> str:
    """A text with commands, each of which acts on this instance."""
    from slipway.settings import command

    return _COMMAND.sub(lambda found: command(found[1], instance), text)


def _in_own_environment() -> None:
    """Start again by ./invoke when another Python's Invoke reads these tasks: only ours has what they need."""
    if Path(sys.prefix).resolve() != (ROOT / ".venv").resolve():  # it may be a link
        os.execv(ROOT / "invoke", [str(ROOT / "invoke"), *sys.argv[1:]])


def _call(body: Callable[[], int | None], *, unfinished: Callable[[], str], code: int) -> int | None:
    from slipway import shell
    from slipway.errors import SlipwayError

    _log_commands(os.environ.get("SLIPWAY_LOG", ""))
    handlers: dict[signal.Signals, Callable[..., NoReturn]] = {signal.SIGTERM: _terminate}
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as it is for what nohup starts
        handlers[signal.SIGHUP] = _hang_up
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        return body()
    except SlipwayError as error:
        _fail(str(error), code or error.exit_code)
    except KeyboardInterrupt as interrupt:
        shell.end_all()
        ended, signalled = ("Ended", TERMINATED_CODE) if isinstance(interrupt, Terminated) else ("Interrupted", INTERRUPTED_CODE)
        raise Exit(f"\n{ended}. {unfinished()}".rstrip(), signalled) from None
    except Exception:
        if not code:
            raise
        traceback.print_exc()  # a bug; the code that Python itself would exit with says something of its own here
        raise Exit(code=code) from None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _terminate(*_: object) -> NoReturn:
    raise Terminated


def _hang_up(*_: object) -> NoReturn:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the shell says it once more, while all is being ended
    for stream in (1, 2):
        if stat.S_ISCHR(os.fstat(stream).st_mode):  # nobody reads the terminal any more, and to write there would fail
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    raise Terminated


def _fail(message: str, code: int) -> NoReturn:
    raise Exit(f"{_styled('error:', _RED, sys.stderr.isatty())} {message}", code)


def _styled(text: str, style: str, terminal: bool) -> str:
    return f"{style}{text}{_PLAIN}" if terminal and not os.environ.get("NO_COLOR") else text


def _log_commands(wanted: str) -> None:
    """Log every command that is run: SLIPWAY_LOG is a level (to standard error) or a file (everything, appended)."""
    if not wanted:
        return
    level = logging.getLevelNamesMapping().get(wanted.upper())
    try:
        handler = logging.StreamHandler() if level else logging.FileHandler(wanted)
    except OSError as error:
        _fail(f"SLIPWAY_LOG is {wanted!r}, neither a level such as debug nor a file to write: {error.strerror}", USAGE_CODE)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("slipway")
    logger.addHandler(handler)
    logger.setLevel(level or logging.DEBUG)


def words_after_dashes() -> list[str]:
    """The words after `--` on the command line, each as it was given; Invoke itself would join them with spaces."""
    return sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []


def user(given: str, *, environ: Mapping[str, str] = os.environ) -> str:
    """As whom a task acts: who is named, else SLIPWAY_USER, else the developer."""
    return given or environ.get("SLIPWAY_USER") or "developer"


def judged(result: Any, *, json: bool, show: Callable[[Any, Any], None] | None = None) -> int:
    """The exit code after a result was printed that says of itself whether it is `well`."""
    answer(result, json=json, show=show)
    return 0 if result.well else 1


def coded(result: Any, *, json: bool, show: Callable[[Any, Any], None] | None = None) -> int:
    """The exit code that a result has as its `code`, after it was printed."""
    answer(result, json=json, show=show)
    return result.code


def answer(result: Any, *, json: bool, show: Callable[[Any, Any], None] | None = None) -> None:
    """Print a result on standard output, for machines or for a person.

    Args:
        result: A dataclass, a mapping or a sequence of them.
        json: For machines.
        show: Prints it to a rich console for a person; by default a line for each item.

    Raises:
        Exit: Whoever reads it has read enough, as `head` does.
    """
    try:
        _print(result, json=json, show=show)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left of it, at the end
        raise Exit(code=UNREAD_CODE) from None


def _print(result: Any, *, json: bool, show: Callable[[Any, Any], None] | None) -> None:
    if json:
        print(dumps(result, indent=2, default=_plain))
    elif show:
        from rich.console import Console

        # Where nobody looks at it as it comes, lines may be as long as they are.
        width = None if sys.stdout.isatty() else 160
        show(result, Console(highlight=False, soft_wrap=True, width=width))
    else:
        for line in _lines(_plain(result)):
            print(line)


def _plain(value: Any) -> Any:
    if hasattr(value, "as_dict"):
        return value.as_dict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # What a dataclass leaves out of its representation is too much for a person and for a machine.
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.repr}
    return value if isinstance(value, (Mapping, list, tuple, str, int, float, type(None))) else str(value)


def _lines(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        width = max((len(str(name)) for name in value), default=0)
        return [f"{name:<{width}}  {item}" for name, item in value.items()]
    return [str(item) for item in value] if isinstance(value, (list, tuple)) else [str(value)]


def show_exports(variables: Mapping[str, str], console: Any) -> None:
    """Print variables so that a shell takes them over."""
    for name, value in variables.items():
        console.out(f"export {name}={shlex.quote(value)}")


def spelled(words: Sequence[str], collection: Collection) -> list[str]:
    """The words of a command line as Invoke reads them: it knows words that a task must have, and none that it may have."""
    # The task that a collection does by default goes by the collection's name too.
    task_names = {spelling for name, others in collection.task_names.items() for spelling in (name, *others)}
    if len(words) < 2 or words[0] not in task_names or words[1].startswith("-") or words[1] in task_names:
        return list(words)
    found = collection[words[0]]
    flag = getattr(found, "word", "")
    if not flag:
        return list(words)
    several = len(list(itertools.takewhile(lambda word: not word.startswith("-") and word not in task_names, words[1:])))
    given = words[1 : 1 + (several if flag in found.iterable else 1)]
    return [words[0], *(part for word in given for part in (f"--{flag}", word)), *words[1 + len(given) :]]


class Slipway(Program):
    """Invoke, with a list and a help of our own."""

    def normalize_argv(self, argv: list[str] | None) -> None:
        """Take the command line; `TASK --help` becomes `--help TASK`, else a task's positional word would swallow it."""
        super().normalize_argv(argv)
        own = self.argv[: self.argv.index("--")] if "--" in self.argv else self.argv
        if len(own) > 2 and not own[1].startswith("-") and {"--help", "-h"} & set(own[2:]):
            self.argv = [own[0], "--help", own[1]]

    def parse_core(self, argv: list[str] | None) -> None:
        """Parse the options that belong to no task."""
        as_started = sys.dont_write_bytecode
        super().parse_core(argv)
        sys.dont_write_bytecode = as_started  # Invoke turns it on, and every command would compile everything anew

    def parse_tasks(self) -> None:
        """Parse tasks and their flags.

        Raises:
            Exit: A task or a flag is unknown, or a word is lacking; the message says what is near.
        """
        self.core.unparsed[:] = spelled(self.core.unparsed, self.collection)
        try:
            super().parse_tasks()
        except ParseError as error:
            _fail(self._explain(error), self._usage_code())
        except ValueError as error:  # a flag's value that is none of its kind
            name = self._named()
            _fail(f"{name}: {error}\nSee `./invoke {name} --help`.", self._usage_code())

    def _named(self) -> str:
        """The task that the command line names, or begins with."""
        words = itertools.takewhile(lambda word: word != "--", self.core.unparsed)
        return next((word for word in words if word in self.parser.contexts), "")

    def _usage_code(self) -> int:
        name = self._named()
        return (getattr(self.collection[name], "code", 0) if name else 0) or USAGE_CODE

    def _explain(self, error: ParseError) -> str:
        said = str(error)
        context = getattr(error, "context", None)
        name = context.name if isinstance(context, ParserContext) else None
        typed = self._named()
        if name and typed and self._context(typed).name == name:
            name = typed  # a collection's default task goes by its name too
        unknown = next((word for word in self.core.unparsed if said == f"No idea what {word.partition('=')[0]!r} is!"), None)
        if unknown is None:
            return f"{said}\nSee `./invoke {name} --help`." if name else said
        if unknown.startswith("-") and name:
            flags = [flag for flag in self._context(name).flags if flag.startswith("--")]
            return f"{name} has no flag {unknown!r}{_near(unknown, flags)}\nSee `./invoke {name} --help`."
        return f"there is no task {unknown!r}{_near(unknown, [name for _, name, _ in self._rows()])}\nSee `./invoke --list`."

    def _context(self, name: str) -> ParserContext:
        context: Any = self.parser.contexts[name]
        return context

    def _rows(self) -> list[tuple[str, str, str]]:
        """Group, name and line of every task, in the order of tasks.py within a group."""
        return sorted(_rows(self.collection, ()), key=lambda row: GROUPS.index(row[0]))

    def list_flat(self) -> None:
        """Print every task under its group."""
        terminal = sys.stdout.isatty()
        rows = self._rows()
        if self.list_root:
            rows = [row for row in rows if row[1].partition(".")[0] == self.list_root]
        width = max(len(name) for _, name, _ in rows)
        print("./invoke TASK [--flags]     ./invoke TASK --help tells the flags of one")
        for group in dict.fromkeys(group for group, _, _ in rows):
            print(f"\n{_styled(group, _BOLD, terminal)}")
            for _, name, line in (row for row in rows if row[0] == group):
                print(f"  {name:<{width}}  {line}")

    def print_help(self) -> None:
        """Print what Slipway is, and every task."""
        from slipway import __doc__ as what

        print(f"{what}\n")
        self.list_flat()

    def print_task_help(self, name: str) -> None:
        """Print what one task does and its flags."""
        context, found = self._context(name), self.collection[name]
        words = [(argument.name or "").upper() for argument in context.positional_args]
        word = getattr(found, "word", "")
        words += [f"[{word.upper()}{'...' if word in found.iterable else ''}]"] if word else []
        print(" ".join(["./invoke", name, *words, *(["[--flags]"] if context.flags else [])]))
        print(f"\n{(found.__doc__ or '').strip()}\n")
        if context.flags:
            self.print_columns(context.help_tuples())


def _near(word: str, valid: list[str]) -> str:
    close = difflib.get_close_matches(word, valid, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _rows(collection: Collection, above: tuple[str, ...]) -> list[tuple[str, str, str]]:
    rows: list[tuple[str, str, str]] = []
    for name, found in collection.tasks.items():
        path = above if name == collection.default else (*above, name)
        rows.append((getattr(found, "group", GROUPS[0]), ".".join(path), (found.__doc__ or "").strip().partition("\n")[0]))
    for name, inner in collection.collections.items():
        rows += _rows(inner, (*above, name))
    return rows


def main() -> None:
    """Run the tasks that the command line names, then exit."""
    import tasks
    from slipway import __version__

    Slipway(namespace=tasks.namespace, name="Slipway", binary="./invoke", version=__version__).run()


if __name__ == "__main__":
    # tasks.py imports `cli`: it must find this module, not load it a second time.
    sys.modules["cli"] = sys.modules["__main__"]
    main()
