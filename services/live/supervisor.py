"""Keeps a service running, and puts a new process in the place of the one that serves once it is up."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import time
from pathlib import Path

from live.process import Process, become, load, stand_in, write
from live.watching import Watch, state

# Seconds. A service starts in one; its database may not be there yet when the pod is new.
START_TIMEOUT = 30.0
# What a service's `finish_seconds` may ask for is 10 by default; whoever takes longer is ended.
END_TIMEOUT = 15.0
# A process that dies sooner after its start is not started again before the next reload.
LEAST_LIFE = 5.0

# Seconds without a change after which what was saved is taken to be whole. If it was not, what comes later starts another.
QUIET = 0.02

# What asks it to end.
_ENDING = (signal.SIGTERM, signal.SIGINT)

# The most of what a process said at its start that is told again.
_TOLD = 32_768
_BACKLOG, _RECEIVE = 2048, 65_536


class Supervisor:
    """Keeps one process of a service running, and puts another in its place when told to.

    Args:
        folder: The service, with its main.py; files in it may change at any time.
        control: The socket that reloads are asked for by.
        address: Host and port to hold.
        once: End when nothing serves, as the service by itself would: nobody is there to save something better.
    """

    def __init__(self, folder: Path, control: Path, address: tuple[str, int], *, once: bool = False) -> None:
        self.folder, self.once = folder, once
        self.selector = selectors.DefaultSelector()
        self.serving: Process | None = None
        self.starting: Process | None = None
        self.leaving: dict[int, Process] = {}
        self.askers: list[socket.socket] = []
        self.error, self.ending = "", False
        self.asked: list[int] = []
        self.watch, self.changed = Watch(folder), 0.0
        self.started, self.served = state(folder), ""
        self.listener = socket.create_server(address, backlog=_BACKLOG)
        self.listener.setblocking(False)
        control.unlink(missing_ok=True)
        self.control = socket.socket(socket.AF_UNIX)
        self.control.bind(str(control))
        self.control.listen()
        self.wakeup, waker = socket.socketpair()
        self.wakeup.setblocking(False)
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        self.waker = waker
        # They only have to wake the loop up: it does one thing at a time, and no process is between two places then.
        for number in _ENDING:
            signal.signal(number, lambda number, _: self.asked.append(number))
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        self.selector.register(self.control, selectors.EVENT_READ, self._accept_asker)
        self.selector.register(self.wakeup, selectors.EVENT_READ, self._drain_wakeup)
        if self.watch.fileno() >= 0:
            self.selector.register(self.watch, selectors.EVENT_READ, self._notice)

    def run(self) -> int:
        """Serve until told to end; the exit code of the process that served last."""
        self._start()
        code = 0
        while not (self.ending and not self.serving and not self.starting and not self.leaving):
            for key, _ in self.selector.select(self._patience()):
                key.data()
            self._end()
            code = self._reap(code)
            self._hurry()
        return code

    def _end(self) -> None:
        """Do what it was asked to since it last looked: every process is asked the same."""
        while self.asked:
            number = self.asked.pop(0)
            self.ending = True
            self._tell(ok=False, text="The container ends.")
            for process in self._processes():
                self._signal(process, signal.Signals(number))

    def _processes(self) -> list[Process]:
        return [process for process in (self.serving, self.starting, *self.leaving.values()) if process]

    def _patience(self) -> float | None:
        deadlines = [process.deadline for process in self._processes() if process.deadline]
        deadlines += [self.changed + QUIET] if self.changed else []
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _hurry(self) -> None:
        now = time.monotonic()
        if self.changed and self.changed + QUIET <= now:
            self.changed = 0.0
            self._renew()
        for process in self._processes():
            if process.deadline and process.deadline <= now:
                if process is self.starting:
                    process.said += f"\nIt did not serve within {START_TIMEOUT:g} s and was ended.".encode()
                process.deadline = 0.0
                self._signal(process, signal.SIGKILL)

    def _signal(self, process: Process, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)

    def _drain_wakeup(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self.wakeup.recv(_RECEIVE)

    def _notice(self) -> None:
        self.watch.drain()
        self.changed = time.monotonic()

    def _accept_asker(self) -> None:
        asker, _ = self.control.accept()
        self._renew()
        self.askers.append(asker)
        if self.ending:
            self._tell(ok=False, text="The container ends.")
        elif not self.starting:  # it was noticed before it was asked for, and is done
            self._tell(ok=not self.error, text=self.error or self.served)

    def _renew(self) -> None:
        """Start what the files say now, unless that was started already."""
        if not self.ending and state(self.folder) != self.started:
            self._tell(ok=False, text="Something else was saved before this was done.")
            self._start()

    def _tell(self, *, ok: bool, text: str) -> None:
        answer = json.dumps({"ok": ok, "text": text}).encode()
        for asker in self.askers:
            with contextlib.suppress(OSError):
                asker.sendall(answer)
                asker.shutdown(socket.SHUT_RDWR)
            asker.close()
        self.askers.clear()

    def _start(self) -> None:
        if self.starting:  # it has what was saved before
            self._signal(self.starting, signal.SIGKILL)
            self._let_go(self.starting)
        self.started = state(self.folder)
        heard, says = os.pipe()
        notice, notes = os.pipe()
        now, supervisor = time.monotonic(), os.getpid()
        made = Process(0, heard, notice, now, deadline=now + START_TIMEOUT)
        # A new process that is told to end before it has left its parent's ways would only take note of it.
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        try:
            made.pid = os.fork()
            if made.pid == 0:
                ends = [self.selector, self.control, self.wakeup, self.waker, self.watch, made, *self.askers, *self._processes()]
                become(self.folder, self.listener, says, notes, ends, supervisor=supervisor)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        os.close(says)
        os.close(notes)
        self.starting = made
        self.selector.register(heard, selectors.EVENT_READ, lambda: self._hear(made))
        self.selector.register(notice, selectors.EVENT_READ, lambda: self._note(made))

    def _let_go(self, process: Process) -> None:
        """Take a process out of service; it is only waited for from now on."""
        self.serving = None if process is self.serving else self.serving
        self.starting = None if process is self.starting else self.starting
        self.leaving[process.pid] = process

    def _hear(self, process: Process) -> None:
        data = os.read(process.heard, _RECEIVE)
        if data:
            process.said += data
            write(data)
        else:
            self.selector.unregister(process.heard)
            os.close(process.heard)
            process.heard = -1

    def _note(self, process: Process) -> None:
        data = os.read(process.notice, _RECEIVE)
        process.noticed += data
        if data:
            return
        self.selector.unregister(process.notice)
        os.close(process.notice)
        process.notice = -1
        if process is self.starting and process.noticed:
            self._take_over(process)

    def _take_over(self, process: Process) -> None:
        former, self.serving, self.starting = self.serving, process, None
        process.deadline, self.error = 0.0, ""
        with contextlib.suppress(KeyError):
            self.selector.unregister(self.listener)
        if former:
            former.deadline = time.monotonic() + END_TIMEOUT
            self.leaving[former.pid] = former
            if not self.ending:  # it was asked to, and asked once more it would end nothing that it has begun
                self._signal(former, signal.SIGINT)  # closes its side of the port at once, and ends what it has begun
        if self.ending:  # as it was told to
            return
        self.served = f"serving after {time.monotonic() - process.began:.2f} s"
        self._tell(ok=True, text=self.served)
        load(json.loads(process.noticed))

    def _reap(self, code: int) -> int:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return code
            if pid == 0:
                return code
            ended = os.waitstatus_to_exitcode(status)
            process = next((one for one in self._processes() if one.pid == pid), None)
            if process is None:
                continue
            if process.heard >= 0:  # what it said last
                with contextlib.suppress(BlockingIOError):
                    os.set_blocking(process.heard, False)
                    while process.heard >= 0:
                        self._hear(process)
            if self.leaving.pop(pid, None):
                code = ended if self.ending else code
            elif process is self.starting:
                self.starting = None
                if self.ending:
                    continue
                code = ended if self.once and not self.serving else code
                self._failed(process, f"The new code does not start (exit code {ended})")
            else:
                self.serving, code = None, ended
                self._died(process, ended)

    def _failed(self, process: Process, what: str) -> None:
        meanwhile = "the former process serves on" if self.serving else "nothing serves until then"
        follows = "its container ends" if self.once and not self.serving else f"{meanwhile}. The next save tries again"
        said = process.said[-_TOLD:].decode(errors="replace").strip()
        self.error = f"{said}\n\n{what}; {follows}.".strip()
        self._tell(ok=False, text=self.error)
        write(f"live: {what}; {follows}.\n".encode())
        self.ending = self.ending or (self.once and not self.serving)
        if not self.serving and not self.ending:
            with contextlib.suppress(KeyError):  # it answers already
                self.selector.register(self.listener, selectors.EVENT_READ, self._answer)

    def _died(self, process: Process, ended: int) -> None:
        if self.ending or self.starting:
            return
        if not self.once and time.monotonic() - process.began >= LEAST_LIFE:
            write(f"live: the service ended (exit code {ended}); starting it again.\n".encode())
            self._start()
        else:
            self._failed(process, f"The service ended soon after its start (exit code {ended})")

    def _answer(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self.listener.accept()
            with connection:
                stand_in(connection, self.error)
