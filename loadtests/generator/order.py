"""What the generator is told to do: one JSON file, the same for the master and every worker."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import arrivals
from .arrivals import Arrival, Phase

# Names the file.
VARIABLE = "LOAD_ORDER"


@dataclass(frozen=True)
class Order:
    """What to send, to whom, and when.

    Attributes:
        run: The run's name, which its requests and its data carry.
        seed: What all that is drawn follows from.
        think: Seconds between two requests of a journey, on average.
        patience: Seconds until a request is given up.
        drain: Seconds that journeys under way get at the end.
        addresses: Where each service answers.
        hosts: What each is called in a request, when that is not its address: where several share one.
        keep: Whether the carts stay.
        each: One request id of so many is kept, for a look into the services' logs.
    """

    run: str
    seed: int
    workers: int
    phases: tuple[Phase, ...]
    weights: Mapping[str, float]
    streams: Mapping[str, float]
    think: float
    patience: float
    drain: float
    addresses: Mapping[str, str]
    hosts: Mapping[str, str]
    keep: bool
    each: int

    @property
    def prefix(self) -> str:
        """What every id begins with that this run makes up: of requests, carts and orders."""
        return f"load-{self.run}-"

    @property
    def seconds(self) -> float:
        """How long customers come."""
        return sum(phase.seconds for phase in self.phases)

    def arrivals(self) -> Iterator[Arrival]:
        """Every arrival."""
        return arrivals.schedule(self.phases, self.weights, self.streams, seed=self.seed)


def read(file: Path | None = None) -> Order:
    """The order in a file; the one that the environment names by default."""
    told: dict[str, Any] = json.loads((file or Path(os.environ[VARIABLE])).read_text())
    phases = tuple(Phase(**phase) for phase in told.pop("phases"))
    return Order(phases=phases, **told)
