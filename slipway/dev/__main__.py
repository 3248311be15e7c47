"""`python -m slipway.dev`: compiles Tilt in the background of `up`, and writes how that went to where it was told to."""

from __future__ import annotations

import signal
import sys

from slipway.dev import tilt
from slipway.errors import SlipwayError
from slipway.progress import Progress
from slipway.settings import load


def main() -> int:
    """The exit code: 0 when there is a Tilt now."""
    progress = Progress()
    # As on Ctrl-C: compilers under way are ended too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with progress.showing(), progress.phase("tilt") as phase:
            tilt.build(load(), phase=phase)
    except SlipwayError as error:
        progress.note(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        progress.note("It was interrupted. `./invoke dev` or `./invoke up --tilt` goes on from here.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
