# ruff: noqa: ANN401 (what a library's own method takes)
"""A point of time at which an exchange over HTTP ends, wherever it is: TLS, headers, a body, a redirect.

The timeouts of requests are for one read each: a server that sends a byte a second never meets one.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from contextvars import ContextVar
from types import TracebackType
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection

__all__ = ["Deadline", "watch_connections"]

_current: ContextVar[Deadline | None] = ContextVar("_current", default=None)


class Deadline:
    """Shuts down the sockets of the exchanges that are made within its context, `seconds` after its start.

    A connection that is opened or used by a pool of `watch_connections` is watched. A read from a socket that was shut
    down ends at once; the caller looks at `expired` to know why.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._watched: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._shut_down)
        self._timer.daemon = True

    @property
    def expired(self) -> bool:
        """Returns True if the time is over."""
        return time.monotonic() >= self._end

    def watch(self, connected: socket.socket) -> None:
        """Shuts a socket down at the end. A duplicate is kept: TLS takes the descriptor out of the socket that it
        wraps.
        """
        with suppress(OSError):
            duplicate = socket.socket(fileno=os.dup(connected.fileno()))
            with self._lock:
                self._watched.append(duplicate)
        if self.expired:
            self._shut_down()

    def __enter__(self) -> Deadline:
        self._token = _current.set(self)
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        _current.reset(self._token)
        with self._lock:
            for duplicate in self._watched:
                duplicate.close()
            self._watched.clear()

    def _shut_down(self) -> None:
        with self._lock:
            for duplicate in self._watched:
                with suppress(OSError):
                    duplicate.shutdown(socket.SHUT_RDWR)


def _watch(connected: socket.socket | None) -> None:
    deadline = _current.get()
    if deadline is not None and connected is not None:
        deadline.watch(connected)


class _WatchedConnection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        connected = super()._new_conn()
        _watch(connected)
        return connected

    def putrequest(self, *arguments: Any, **named: Any) -> None:
        """Starts a request, on a new connection or on one that was kept open."""
        _watch(self.sock)
        super().putrequest(*arguments, **named)


class _WatchedTlsConnection(_WatchedConnection, HTTPSConnection):
    """The same over TLS: the socket below it is watched."""


class _WatchedPool(HTTPConnectionPool):
    ConnectionCls = _WatchedConnection


class _WatchedTlsPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedTlsConnection


def watch_connections(manager: PoolManager) -> None:
    """Makes a manager open connections that the current Deadline ends."""
    manager.pool_classes_by_scheme = {"http": _WatchedPool, "https": _WatchedTlsPool}
