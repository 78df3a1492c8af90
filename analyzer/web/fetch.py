"""Fetching over HTTP: bounded, cached on disk, retried, and clear about what failed.

A cached copy younger than `MAX_AGE` is used as it is; an older one is asked about (ETag, Last-Modified). If the
network does not answer, a cached copy of any age is used, with a note of its age.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tailcall_audit.analyzer.errors import parameter
from tailcall_audit.analyzer.libraries import requests_errors
from tailcall_audit.analyzer.paths import cache_folder
from tailcall_audit.analyzer.web.errors import FetchError
from tailcall_audit.analyzer.web.missing import Missing

if TYPE_CHECKING:
    from requests_cache.models import AnyResponse
    from requests_cache.models.response import CachedResponse

__all__ = ["MAX_AGE", "FetchError", "Fetched", "Fetcher", "is_url"]

MAX_AGE = 24 * 3600
"""Seconds after which a cached copy is asked about again."""
_CONNECT_TIMEOUT, _READ_TIMEOUT = 10, 30
_TOTAL_TIMEOUT = 600
"""Seconds for all tries and redirects together."""
_TRIES = 3
_MAX_REDIRECTS = 5
_NOTHING = (403, 404, 410)
"""The statuses of an address at which a server has nothing; mirrors of object stores answer 403."""


@dataclass(frozen=True)
class Fetched:
    """The content of an address. `note` says that a cached copy was used because the network did not answer, and how
    old it is.
    """

    url: str
    data: bytes
    note: str | None = None


def is_url(text: str) -> bool:
    """Returns True if a name is an address on the web rather than a file."""
    return text.lower().startswith(("http://", "https://"))


def _cache_directory() -> Path:
    named = os.environ.get("TAILCALL_AUDIT_HTTP_CACHE")
    if named:
        return Path(named)
    return cache_folder() / "http"


def _age(copy: AnyResponse) -> str:
    seconds = time.time() - copy.created_at.timestamp()
    if seconds < 3600:
        return f"{max(1, round(seconds / 60))} minutes"
    return f"{round(seconds / 3600)} hours" if seconds < 72 * 3600 else f"{round(seconds / 86400)} days"


class Fetcher:
    """Fetches addresses.

    `progress` hears of every part that arrives; `pause` is half the seconds before a third try. `max_age` are the
    seconds for which a copy is used without a question; `remembers_missing` says that an address at which there was
    nothing is not asked for again within a day.
    """

    def __init__(
        self,
        *,
        offline: bool = False,
        refresh: bool = False,
        progress: Callable[[str], None] = lambda _: None,
        remedy: str = "",
        pause: float = 1.0,
        max_age: float = MAX_AGE,
        remembers_missing: bool = False,
    ) -> None:
        self._offline = offline
        self._refresh = refresh
        self._progress = progress
        self._remedy = remedy
        self._pause = pause
        self._client: _Client | None = None
        self._max_age = max_age
        self._remembers_missing = remembers_missing
        self._missing: Missing | None = None

    def get(self, url: str, limit: int, remedy: str | None = None) -> Fetched:
        """Fetches at most `limit` bytes; raises FetchError."""
        import requests

        remedy = remedy or self._remedy or f"fetch it by other means and give {parameter('changelog', 'FILE')}"
        missing = self._known_missing()
        if missing is not None and not self._refresh and missing.has(url):
            raise FetchError(f"{url}: the server had nothing there a short while ago; {remedy}", 404)
        client = self._open()
        try:
            # A request is one call of a library that reads what the server sends, from the first byte of the headers to the last of
            # the body.
            with requests_errors(_FailedError, requests.RequestException):
                answer = client.get(url, limit, only_kept=self._offline)
        except (_FailedError, requests.RequestException) as error:
            kept = client.kept(url)
            if self._offline:
                raise FetchError(
                    f"{url}: not in the cache, and {parameter('offline')} forbids to fetch it; {remedy}"
                ) from error
            if kept is None:
                raise FetchError(f"{url}: cannot fetch: {_reason(error)}; {remedy}") from error
            age = _age(kept)
            return Fetched(url, kept.content, f"{url}: cannot be reached, so the copy fetched {age} ago is used")
        complaint = client.copies.complaint
        if self._offline:
            if answer.status_code != 200:
                why = f" ({complaint})" if complaint else ""
                raise FetchError(
                    f"{url}: not in the cache, and {parameter('offline')} forbids to fetch it{why}; {remedy}"
                )
            return Fetched(
                url, answer.content, f"{url}: the copy fetched {_age(answer)} ago is used ({parameter('offline')})"
            )
        if answer.status_code != 200:
            if missing is not None and answer.status_code in _NOTHING:
                missing.add(url)
            raise FetchError(f"{url}: the server says {answer.status_code}; {remedy}", answer.status_code)
        return Fetched(url, answer.content, complaint)

    def _open(self) -> _Client:
        if self._client is None:
            age = math.inf if self._offline else 0 if self._refresh else self._max_age
            self._client = _Client(age, self._pause, self._progress)
        return self._client

    def _known_missing(self) -> Missing | None:
        if self._remembers_missing and self._missing is None:
            self._missing = Missing(_cache_directory(), MAX_AGE)
        return self._missing


class _FailedError(Exception):
    """An error of a library that is no RequestException."""


class _Client:
    """The session of requests-cache, with copies, an adapter and a deadline of this tool."""

    def __init__(self, max_age: float, pause: float, progress: Callable[[str], None]) -> None:
        from tailcall_audit import __version__
        from tailcall_audit.analyzer.web.adapter import BoundedAdapter, retry_policy
        from tailcall_audit.analyzer.web.copies import Copies, CopyingSession

        logging.getLogger("requests_cache").addHandler(logging.NullHandler())
        self.copies = Copies(_cache_directory(), max_age)
        self._adapter = BoundedAdapter(retry_policy(_TRIES, pause), progress)
        self._session = CopyingSession(self.copies, MAX_AGE)
        self._session.max_redirects = _MAX_REDIRECTS
        self._session.headers.update(
            {"User-Agent": f"tailcall-audit/{__version__}", "Accept-Encoding": "identity", "Accept": "*/*"}
        )
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, self._adapter)

    def get(self, url: str, limit: int, *, only_kept: bool) -> AnyResponse:
        """Returns a fresh copy, or asks the server; raises FetchError and what requests raises."""
        from tailcall_audit.analyzer.web.deadline import Deadline

        self._adapter.limit = self.copies.limit = limit
        with Deadline(_TOTAL_TIMEOUT) as self._adapter.deadline:
            return self._session.get(url, only_if_cached=only_kept, timeout=(_CONNECT_TIMEOUT, _READ_TIMEOUT))

    def kept(self, url: str) -> CachedResponse | None:
        """Returns a copy of any age."""
        import requests

        from tailcall_audit.analyzer.web.copies import key_of

        with suppress(Exception), requests_errors(_FailedError):
            return self._session.cache.get_response(key_of(requests.Request("GET", url).prepare()))
        return None


def _reason(error: Exception) -> str:
    """Returns the failure in words: the libraries' own messages are chains of class names."""
    import requests

    from tailcall_audit.analyzer.web.adapter import LateError

    text = str(error)
    if isinstance(error, requests.exceptions.SSLError):
        return f"its certificate is not trusted ({text[-120:]})"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy did not take the request"
    if isinstance(error, LateError):
        return text
    if isinstance(error, requests.Timeout) or "timed out" in text:
        return "no answer in time"
    if isinstance(error, requests.TooManyRedirects):
        return f"more than {_MAX_REDIRECTS} redirects"
    if isinstance(error, requests.exceptions.ChunkedEncodingError) or "IncompleteRead" in text:
        return "the answer was cut off"
    if "Name or service" in text or "NameResolution" in text or "getaddrinfo" in text:
        return "no such host, or no network"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return text or type(error).__name__
