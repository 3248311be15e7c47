"""What was asked for, what is planned, and where it goes: the facts before a load test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# How a journey's connections are made: kept for the next one, made anew for every request, or held by an answer that takes long.
KEEP_ALIVE, NEW_CONNECTION, SLOW = "keep-alive", "new-connection", "slow"


@dataclass(frozen=True)
class Asked:
    """What somebody asked for.

    Attributes:
        release: The release that the environment has to run ("v0.2.0"); empty for whatever it runs.
        local: Whether the generator runs on the host, against mapped ports of the loopback interface.
        rate: Journeys per second at the profile's highest; 0 for the profile's own.
        duration: Seconds of the counted phases all together; 0 for the profile's own.
        seed: What the arrivals and the journeys' choices follow from.
        workers: Processes that send; 0 for the profile's own.
        nodes: The label of the nodes on which they do ("KEY=VALUE"); empty for any.
        sender: The instance whose cluster sends; empty for the one under test.
        streams: Share of the journeys by how their connections are made; empty for the profile's own.
        keep: Whether the test's data stay in the environment.
        during: What to change in the environment while the load is on: rollout, promotion or rollback; empty for nothing.
        user: On whose behalf.
    """

    environment: str = "stage"
    profile: str = "smoke"
    release: str = ""
    local: bool = False
    rate: float = 0.0
    duration: float = 0.0
    seed: int = 1
    workers: int = 0
    streams: Mapping[str, float] = field(default_factory=dict[str, float])
    keep: bool = False
    during: str = ""
    user: str = "developer"
    nodes: str = ""
    sender: str = ""


@dataclass(frozen=True)
class Phase:
    """A part of the plan, in which the rate of arrivals goes evenly from one value to another.

    The generator has a Phase of its own (loadtests/generator/arrivals.py): it runs in an image that has nothing of Slipway, and
    both are what the order between them says (`plan.order`). A test holds them to the same fields and the same sums.

    Attributes:
        begin_rate: Journeys per second at its begin.
        end_rate: Journeys per second at its end.
        counted: Whether thresholds look at it; they do not at a warm-up or a ramp.
    """

    name: str
    seconds: float
    begin_rate: float
    end_rate: float
    counted: bool

    @property
    def journeys(self) -> float:
        """How many journeys are due in it, on average."""
        return self.seconds * (self.begin_rate + self.end_rate) / 2


@dataclass(frozen=True, kw_only=True)
class Sending:
    """How customers come, as a profile says it and a plan has it.

    Attributes:
        workers: Processes that send, each its share of the arrivals.
        weights: Share of the arrivals by journey; they add up to 1.
        streams: Share of the arrivals by how their connections are made; they add up to 1.
        think: Seconds, on average, between two requests of a journey.
        patience: Seconds after which a request without an answer has failed.
        drain: Seconds after the last phase in which journeys may still end.
    """

    workers: int
    phases: tuple[Phase, ...]
    weights: Mapping[str, float]
    streams: Mapping[str, float]
    think: float
    patience: float
    drain: float


@dataclass(frozen=True, kw_only=True)
class Plan(Sending):
    """What is to be sent, where, and when.

    Attributes:
        seed: What the arrivals and the journeys' choices follow from.
    """

    profile: str
    environment: str
    seed: int

    @property
    def seconds(self) -> float:
        """How long arrivals come."""
        return sum(phase.seconds for phase in self.phases)

    @property
    def counted(self) -> tuple[tuple[float, float], ...]:
        """Begin and end, in seconds since the plan's own begin, of the phases that count."""
        return tuple((begin, end) for begin, end, phase in self.timed if phase.counted)

    @property
    def timed(self) -> tuple[tuple[float, float, Phase], ...]:
        """Every phase with its begin and end, in seconds since the plan's own begin."""
        found: list[tuple[float, float, Phase]] = []
        begin = 0.0
        for phase in self.phases:
            found.append((begin, begin + phase.seconds, phase))
            begin += phase.seconds
        return tuple(found)

    def planned(self, begin: float, end: float) -> float:
        """How many journeys are due between two moments (seconds since the plan's begin), on average.

        The drawn arrivals, which `Client.seconds` tells, are a sample of it: they differ by about the root of it.
        """
        total = 0.0
        for start, stop, phase in self.timed:
            left, right = max(begin, start), min(end, stop)
            if right > left and phase.seconds > 0:
                slope = (phase.end_rate - phase.begin_rate) / phase.seconds
                middle = phase.begin_rate + slope * ((left + right) / 2 - start)
                total += middle * (right - left)
        return total


@dataclass(frozen=True)
class Target:
    """What Git says must run there, and where it answers.

    Attributes:
        release: The release whose lock it is; empty for none.
        lock: The lock's hash ("sha256:..."); empty when the environment runs what no lock says.
        addresses: Where each service answers, as the generator reaches it.
        digests: Which image of each service must run.
        commit: The commit of the GitOps repository that says so.
        local: Whether the generator was on the host: such a run is a look, and no gate.
        sender: The instance whose cluster sent; empty for the one under test.
    """

    environment: str
    release: str
    lock: str
    addresses: Mapping[str, str]
    digests: Mapping[str, str]
    commit: str
    local: bool = False
    sender: str = ""
