"""A load test that asks where nobody listens, in a process of its own: `python -m tests.e2e.nowhere INSTANCE` prints its run."""

from __future__ import annotations

import sys
from dataclasses import replace

from slipway.load import origin, running
from slipway.load.model import Asked, to_json
from slipway.progress import Progress
from slipway.settings import load

# The generator's own pod, at a port that nobody has.
ADDRESS = "http://127.0.0.1:9"


def main(instance: str) -> None:
    """Test dev, as somebody would who has every address wrong."""
    settings = load(instance)
    right = origin.find
    wrong = dict.fromkeys(settings.services, ADDRESS)
    origin.find = lambda there, asked, kube: replace(right(there, asked, kube), addresses=wrong)
    print(to_json(running.run(settings, Asked("dev", rate=4, duration=5), Progress())))


if __name__ == "__main__":
    main(sys.argv[1])
