"""Ports of this machine: always on 127.0.0.1, never one that is taken."""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection

from slipway.errors import SlipwayError

LOOPBACK = "127.0.0.1"

# After the preferred port its neighbours are tried, so that what a user sees stays easy to remember.
_NEIGHBOURS = 50


def free(port: int) -> bool:
    """Whether a server could listen on that port now, here and on every address of this machine."""
    # Docker may publish on 0.0.0.0 by its proxy, and some servers listen there alone: both mean taken.
    for address in (LOOPBACK, "0.0.0.0"):  # noqa: S104 - only probed
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                if error.errno in (errno.EADDRINUSE, errno.EACCES):
                    return False
                raise
    return True


def free_port(preferred: int, *, reserved: Collection[int] = ()) -> int:
    """The preferred port when it is free, else one of its neighbours, else any free one.

    Args:
        preferred: The one that somebody would like to have.
        reserved: Neighbours that somebody else will ask for, though nobody listens there now.

    Raises:
        SlipwayError: The system has no free port left.
    """
    for port in range(preferred, min(preferred + _NEIGHBOURS, 65536)):
        if port not in reserved and free(port):
            return port
    with socket.socket() as probe:
        try:
            probe.bind((LOOPBACK, 0))
        except OSError as error:
            raise SlipwayError(f"no port of {LOOPBACK} is free ({error}). End a program that holds one.") from None
        return int(probe.getsockname()[1])
