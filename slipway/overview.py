"""What the board says of an instance: a judgement on each service in each environment, and one on the whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from slipway import names
from slipway.measures import Key, Measured, Traffic, place
from slipway.prometheus import Alert
from slipway.status import Service, Status

# From the best to the worst. "none": there is nothing to judge.
STATES = ("none", "well", "warn", "bad")

# A twentieth of failed requests and a second are what the alerts ErrorRatioHigh and LatencyHigh ask for.
_ERRORS_BAD, _P95_SLOW = 0.05, 1.0

_KEPT_AWAY = {"absent": "none", "unfinished": "bad", "stopped": "none", "unreachable": "bad"}


@dataclass(frozen=True)
class Cell:
    """One service in one environment.

    Attributes:
        state: One of STATES.
        word: The state in a word or two.
        row: What runs; None when nothing was delivered.
        traffic: What it does; None when nobody measures it.
        alerts: Those that fire for it.
        differs: The next environment, when that one runs another artifact.
    """

    environment: str
    service: str
    state: str
    word: str
    row: Service | None
    traffic: Traffic | None
    alerts: tuple[Alert, ...]
    differs: str


@dataclass(frozen=True)
class Row:
    """One service in every environment; `lag` says where something else runs than in the last one."""

    service: str
    cells: tuple[Cell, ...]
    lag: str

    @property
    def delivered(self) -> bool:
        """Whether it runs, or should, in any environment."""
        return any(cell.row for cell in self.cells)

    @property
    def door(self) -> Service | None:
        """It in the first environment in which it has an address; None when it has none."""
        return next((cell.row for cell in self.cells if cell.row and cell.row.url), None)


@dataclass(frozen=True)
class Board:
    """What an instance is, runs and does, as seen once.

    Attributes:
        at: When it was looked at.
        status: What it is and runs.
        measured: What its services do; None when it has no monitoring, or is not there.
        environments: In the order of promotion.
        services: Every service there should be; those found elsewhere are added.
        stores: The same for stores.
    """

    at: datetime
    status: Status
    measured: Measured | None
    environments: tuple[str, ...]
    services: tuple[str, ...]
    stores: tuple[str, ...]

    @cached_property
    def _rows(self) -> dict[Key, Service]:
        return {(row.environment, row.service): row for row in self.status.services}

    @cached_property
    def _placed(self) -> dict[int, Key]:
        known = [*((environment, "") for environment in self.environments), *self._rows]
        return {id(alert): place(alert, known) for alert in self.alerts}

    @property
    def alerts(self) -> tuple[Alert, ...]:
        """Every alert that fires."""
        return self.measured.alerts if self.measured else ()

    def place(self, alert: Alert) -> Key:
        """Environment and service that an alert is about; empty texts for the platform."""
        return self._placed[id(alert)]

    def alerts_of(self, environment: str, service: str = "") -> tuple[Alert, ...]:
        """The alerts that fire for one service, or for an environment as a whole."""
        return tuple(alert for alert in self.alerts if self.place(alert) == (environment, service))

    def front(self, environment: str) -> Service | None:
        """What people open in an environment; None when it was not delivered."""
        return self._rows.get((environment, names.FRONT))

    @property
    def groups(self) -> tuple[tuple[str, tuple[Row, ...]], ...]:
        """Services and stores, each with its rows."""
        made = (
            (title, tuple(self._row(name) for name in self._named(kind, listed)))
            for title, kind, listed in (("Services", "service", self.services), ("Stores", "store", self.stores))
        )
        return tuple((title, rows) for title, rows in made if rows)

    def _named(self, kind: str, listed: Sequence[str]) -> list[str]:
        return sorted({*listed, *(row.service for row in self.status.services if row.kind == kind)})

    def _row(self, service: str) -> Row:
        rows = [self._rows.get((environment, service)) for environment in self.environments]
        cells = tuple(
            self._cell(environment, service, after=rows[index + 1] if index + 1 < len(rows) else None)
            for index, environment in enumerate(self.environments)
        )
        last = rows[-1] if rows else None
        others = [row.environment for row in rows if row and last and _artifact(row) != _artifact(last)]
        return Row(
            service,
            cells,
            f"{_listed(others)} {'differs' if len(others) == 1 else 'differ'} from {last.environment}" if others and last else "",
        )

    def _cell(self, environment: str, service: str, *, after: Service | None) -> Cell:
        row, alerts = self._rows.get((environment, service)), self.alerts_of(environment, service)
        if row is None:
            state, word = "none", "not delivered"
        elif not row.trouble:
            state, word = "well", row.health
        else:
            state = "bad" if row.ready == 0 or row.health in ("Degraded", "Missing") else "warn"
            word = _word(row)
        loud = [alert for alert in alerts if not alert.silenced]
        if loud and row is not None:
            worst = "bad" if any(alert.severity == "critical" for alert in loud) else "warn"
            if STATES.index(worst) > STATES.index(state):
                state, word = worst, _counted(len(loud), "alert") if state == "well" else word
        traffic = self.measured.traffic.get((environment, service)) if self.measured else None
        differs = after.environment if row and after and _artifact(row) != _artifact(after) else ""
        return Cell(environment, service, state, word, row, traffic, alerts, differs)

    @property
    def headline(self) -> tuple[str, str, str]:
        """State, title and one more sentence for the whole."""
        status = self.status
        if status.state in _KEPT_AWAY:
            return _KEPT_AWAY[status.state], f"{status.instance} is {status.state}", status.trouble
        cells = [cell for _, rows in self.groups for row in rows for cell in row.cells]
        ill = [cell for cell in cells if cell.state in ("warn", "bad")]
        parts = [part for part in status.platform if part.trouble]
        loud = [alert for alert in self.alerts if not alert.silenced]
        said = [f"{len(ill) + len(parts)} in trouble" if ill or parts else "", _counted(len(loud), "alert") if loud else ""]
        title = ", ".join(text for text in said if text)
        if title or not status.healthy:
            down = parts or any(cell.state == "bad" for cell in ill) or any(alert.severity == "critical" for alert in loud)
            return "bad" if down else "warn", title or f"{status.instance} is {status.state}", status.trouble
        if self.measured and (self.measured.trouble or self.measured.unheard):
            return "warn", "Runs, but nobody watches", self.measured.trouble or self.measured.unheard
        lacking = [row.service for _, rows in self.groups for row in rows if not all(cell.row for cell in row.cells)]
        if lacking:
            return "well", "What was delivered is well", f"Not delivered, or not everywhere: {_listed(lacking)}."
        return "well", "All is well", ""

    def as_dict(self) -> dict[str, Any]:
        """The same, for machines; what is not known is null."""
        known, nothing = self.measured, Traffic()
        services: list[dict[str, Any]] = []
        for cell in (cell for _, rows in self.groups for row in rows for cell in row.cells):
            if cell.row is None:
                continue
            traffic = cell.traffic or nothing
            numbers = {"request_rate": traffic.rate, "error_ratio": traffic.errors, "p95_seconds": traffic.p95}
            alerts = [alert.name for alert in cell.alerts]
            services.append({**dataclasses.asdict(cell.row), "state": cell.state, **numbers, "alerts": alerts})
        return {
            "at": self.at.isoformat(),
            **{key: value for key, value in self.status.as_dict().items() if key != "services"},
            "metrics": "none" if known is None else known.trouble or "ok",
            "orders_per_minute": dict(known.orders) if known else {},
            "alerts": [
                {
                    **dataclasses.asdict(alert),
                    "since": alert.since.isoformat(),
                    **dict(zip(("environment", "service"), self.place(alert), strict=True)),
                }
                for alert in self.alerts
            ],
            "services": services,
        }


def level(traffic: Traffic) -> tuple[str, str]:
    """How its share of errors and its latency are to be seen: "", "warn" or "bad" each."""
    errors = "bad" if (traffic.errors or 0) > _ERRORS_BAD else "warn" if traffic.errors else ""
    return errors, "warn" if (traffic.p95 or 0) > _P95_SLOW else ""


def _word(row: Service) -> str:
    """What is wrong with a service, in a word or two."""
    if row.ready < row.replicas:
        return f"{row.ready}/{row.replicas} ready"
    if not row.ready:
        return "not running"
    return next((word for word, well in ((row.health, "Healthy"), (row.sync, "Synced")) if word and word != well), "in trouble")


def _artifact(row: Service) -> str:
    return row.digest or row.version


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
