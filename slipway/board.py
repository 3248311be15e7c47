"""`board`: what an instance runs, how it is and what it does, on one page that keeps itself up to date."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from threading import Event

from slipway import measures, names, status
from slipway.applications import API_VERSION
from slipway.errors import UsageError
from slipway.kube import NOT_YET, Kube
from slipway.measures import Measured
from slipway.overview import Board
from slipway.page import Pages, View
from slipway.prometheus import Alertmanager, NoAnswer, Prometheus
from slipway.serving import Reply, Seen, Shared, serving
from slipway.settings import Settings

PREFERRED_PORT = 8090

_APPLICATION = re.compile(r"applications/([a-z0-9-]+-[a-z0-9]+)\.json")


class Looker:
    """Looks at one instance, and remembers what it saw while it still answered.

    Args:
        settings: The instance's.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.last: Board | None = None
        self._pages: dict[str, bool] = {}

    def look(self) -> Board:
        """What there is now."""
        at = datetime.now(UTC)
        seen = status.status(self.settings)
        profile = self.settings.profiles.get(seen.profile)
        found = [*(profile.environments if profile else ()), *(row.environment for row in seen.services)]
        order = list(self.settings.environments)
        board = Board(
            at=at,
            status=seen,
            measured=self._measure(seen),
            environments=tuple(sorted(dict.fromkeys(found), key=order.index)),
            services=self.settings.services if profile else (),
            stores=tuple(self.settings.stores) if profile else (),
        )
        if seen.services:
            self.last = board
        elif seen.state != "unreachable":
            self.last = None  # what it ran when it was still there is of no use to anybody
        return board

    def _measure(self, seen: status.Status) -> Measured | None:
        if "prometheus" not in seen.urls:
            return None
        prometheus = Prometheus(seen.urls["prometheus"])
        if prometheus.url not in self._pages:
            try:
                self._pages[prometheus.url] = prometheus.pages()
            except NoAnswer as error:
                return Measured(trouble=str(error))
        return measures.measure(prometheus, Alertmanager(seen.urls["alertmanager"]), pages=self._pages[prometheus.url])


def look(settings: Settings) -> Board:
    """What there is now, once."""
    return Looker(settings).look()


def write(settings: Settings, file: str) -> Path:
    """Where the page now is, as of now.

    Raises:
        UsageError: It cannot be written.
    """
    page = Pages(settings).page(View(look(settings)), live=False)
    try:
        Path(file).write_text(page, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}. Name a file in a folder that is there.") from None
    return Path(file).resolve()


def _print(text: str) -> None:
    print(text, flush=True)  # whoever waits for the address may read it through a pipe


def serve(settings: Settings, *, port: int = 0, say: Callable[[str], None] = _print, end: Event | None = None) -> None:
    """Serve the page on 127.0.0.1 until Ctrl-C.

    Args:
        settings: The instance's.
        port: Where; 0 finds a free one.
        say: Told the URL, once it answers.
        end: Ends it too, when it is set.

    Raises:
        UsageError: The port is taken.
    """
    looker, pages = Looker(settings), Pages(settings)
    shared = Shared(looker.look)

    def answer(path: str) -> Reply | None:
        if path in ("", "main"):
            view = _view(looker, shared.get())
            age = {"Data-Age": f"{view.age:.1f}"}
            if path:
                return Reply(pages.main(view, live=True), headers=age)
            return Reply(
                pages.page(view, live=True), headers={**age, "Content-Security-Policy": f"{pages.policy}; frame-ancestors 'none'"}
            )
        found = _APPLICATION.fullmatch(path)
        return _application(settings, found[1]) if found else None

    try:
        with serving(answer, port=port or PREFERRED_PORT, fixed=bool(port)) as url:
            say(f"{url}  shows {settings.instance}; Ctrl-C ends it")
            (end or Event()).wait()
    except KeyboardInterrupt as interrupt:
        if type(interrupt) is not KeyboardInterrupt:  # another program wants to know that it was ended
            raise
    finally:
        shared.close()


def _view(looker: Looker, seen: Seen[Board]) -> View:
    return View(seen.value, looker.last, seen.age, seen.failure)


def _application(settings: Settings, name: str) -> Reply | None:
    """What Argo CD says of one service in one environment; its own API asks everybody for a password."""
    away = Reply("The cluster does not answer.\n", "text/plain", status=HTTPStatus.SERVICE_UNAVAILABLE)
    if not settings.kubeconfig.is_file():
        return away
    kube = Kube(settings.kubeconfig, settings.context)
    try:
        found = kube.get("Application", name, namespace=names.ARGOCD, api_version=API_VERSION)
    except NOT_YET:
        return away
    return Reply(json.dumps(found, indent=2), "application/json") if found else None
