# ruff: noqa: ANN401 (what a library's own method takes)
"""The adapter through which requests fetches: it reads whole bodies within a limit, has one deadline for a request with
all its tries, and lets urllib3's Retry decide about these.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse, Retry
from urllib3.exceptions import HTTPError, MaxRetryError

from tailcall_audit.analyzer.web.deadline import Deadline, watch_connections
from tailcall_audit.analyzer.web.errors import FetchError

__all__ = ["BoundedAdapter", "LateError", "amount", "retry_policy"]

_CHUNK = 1 << 16
_AGAIN = (408, 429, 500, 502, 503, 504)
_HOP = ("Content-Encoding", "Transfer-Encoding", "Content-Length")


def retry_policy(tries: int, pause: float) -> Retry:
    """Returns when an exchange is tried again: at once, then after twice `pause` seconds, then twice that."""
    return Retry(
        total=tries - 1,
        status_forcelist=_AGAIN,
        allowed_methods=("GET",),
        backoff_factor=pause,
        respect_retry_after_header=False,
    )


class LateError(requests.Timeout):
    """An answer that is not whole at the deadline; the message says after how many seconds."""


class BoundedAdapter(HTTPAdapter):
    """Sends a request and reads the whole answer, of at most `limit` bytes, before `deadline`.

    An answer that is cut off is tried again, which urllib3 by itself does only until the end of the headers. What a
    server packed (Content-Encoding) stays packed: requests would unpack it without a bound. If an answer is not
    200, only its headers count.
    """

    def __init__(self, policy: Retry, progress: Callable[[str], None]) -> None:
        self._policy = policy
        self._progress = progress
        self.limit = 0
        self.deadline = Deadline(0)
        super().__init__(max_retries=0)

    def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
        """Makes the manager of connections."""
        super().init_poolmanager(*arguments, **named)
        watch_connections(self.poolmanager)

    def proxy_manager_for(self, *arguments: Any, **named: Any) -> Any:
        """Returns the manager of connections through a proxy."""
        manager = super().proxy_manager_for(*arguments, **named)
        watch_connections(manager)
        return manager

    def send(self, request: requests.PreparedRequest, *arguments: Any, **named: Any) -> requests.Response:
        """Returns an answer whose body is in memory. Raises FetchError for one over the limit, and what requests
        raises.
        """
        policy = self._policy
        number = 1
        while True:
            try:
                answer = self._exchange(request, *arguments, **named)
                if not policy.is_retry(request.method or "", answer.status_code):
                    return answer
                failure: requests.RequestException = requests.exceptions.RetryError(
                    f"the server says {answer.status_code}"
                )
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                failure = error
            if self.deadline.expired:
                raise LateError(f"not whole after {self.deadline.seconds:g} s") from failure
            try:
                policy = policy.increment(request.method, request.url)
            except MaxRetryError:
                raise failure from None
            number += 1
            self._progress(f"{request.url}: no whole answer; try {number} of {number + (policy.total or 0)}")
            policy.sleep()

    def _exchange(self, request: requests.PreparedRequest, *arguments: Any, **named: Any) -> requests.Response:
        self._progress(f"fetching {request.url}")
        answer = super().send(request, *arguments, **(named | {"stream": True}))
        try:
            body = self._body(answer) if answer.status_code == 200 else b""
        finally:
            answer.close()
        if self.deadline.expired:
            # The body of an answer without a length ends with the connection.
            raise LateError(f"not whole after {self.deadline.seconds:g} s")
        for name in _HOP:
            answer.headers.pop(name, None)
        answer.raw = HTTPResponse(
            io.BytesIO(body),
            headers=dict(answer.headers),
            status=answer.status_code,
            reason=answer.reason,
            preload_content=False,
            request_url=request.url,
        )
        return answer

    def _body(self, answer: requests.Response) -> bytes:
        length = answer.headers.get("Content-Length", "")
        total = int(length) if length.isascii() and length.isdigit() and len(length) < 16 else None
        parts: list[bytes] = []
        size = 0
        try:
            # Not stream(): it reads the line before a chunk without a bound.
            while part := answer.raw.read(_CHUNK, decode_content=False):
                parts.append(part)
                size += len(part)
                if size > self.limit:
                    raise FetchError(
                        f"{answer.url}: holds more than {self.limit >> 20} MiB, which nothing of its kind does"
                    )
                self._progress(f"fetching {answer.url}: {amount(size, total)}")
        except (HTTPError, OSError) as error:
            raise requests.exceptions.ChunkedEncodingError(error) from error
        return b"".join(parts)


def amount(size: int, total: int | None) -> str:
    """Returns a progress bar if the length is known: ``[#####.....] 1.2 of 2.4 MB``."""
    if not total or total < size:
        return f"{size / 1e6:.1f} MB"
    done = round(20 * size / total)
    return f"[{'#' * done}{'.' * (20 - done)}] {size / 1e6:.1f} of {total / 1e6:.1f} MB"
