"""Connections that are kept, without the client library's kindness: it would send a request again when a server broke the first.

What a server dropped is what a load test looks for. A connection that the server has closed while nothing was under way is
another matter: like every good client this one looks before it sends, and takes another one.
"""

from __future__ import annotations

import select
from typing import Any

from gevent import monkey, socket
from geventhttpclient.client import HTTPClient, HTTPClientPool
from geventhttpclient.connectionpool import ConnectionPool

_poll: Any = monkey.get_original("select", "poll")


class _Watched(ConnectionPool):
    """Kept connections to one place.

    Attributes:
        stale: How many the server had closed while they were idle.
    """

    stale = 0

    def _is_socket_alive(self, sock: Any) -> bool:
        # Nothing was asked on it: what there is to read is the end. The library itself asks `select`, which refuses descriptors
        # above 1023, and takes every connection for dead that has one: a generator of thousands of customers would keep none.
        alive = not _readable(sock)
        self.stale += not alive
        return alive

    def after_connect(self, sock: Any) -> None:
        """Take note of a new connection."""
        # A request is one piece; waiting for a second one would only cost time.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _readable(wire: Any) -> bool:
    looked = _poll()
    looked.register(wire.fileno(), select.POLLIN)
    return bool(looked.poll(0))


class Pool(HTTPClientPool):
    """A client for each place, none of which sends anything twice."""

    def get_client(self, url: Any) -> HTTPClient:
        """The client for a place."""
        client: Any = super().get_client(url)
        if not isinstance(client._connection_pool, _Watched):
            had = client._connection_pool
            watched = _Watched(
                had._connection_host,
                had._connection_port,
                had._request_host,
                had._request_port,
                size=had.size,
                connection_timeout=had.connection_timeout,
                network_timeout=had.network_timeout,
            )
            # The library sends again as often as this says, and once more.
            watched.size = -1
            client._connection_pool = watched
        return client

    @property
    def stale(self) -> int:
        """How many kept connections the servers had closed while they were idle, to every place."""
        clients: list[Any] = list(self.clients.values())
        return sum(client._connection_pool.stale for client in clients)
