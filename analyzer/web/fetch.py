"""Fetching over HTTP: bounded, cached on disk, retried, and clear about what failed.

A cached copy younger than `MAX_AGE` is used as it is; an older one is asked about (ETag, Last-Modified). Where the network
does not answer, a cached copy of any age is used and its age is said.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tailcall_audit.analyzer.libraries import parse_json, requests_errors
from tailcall_audit.analyzer.model import AuditError
from tailcall_audit.analyzer.paths import cache_folder
from tailcall_audit.probes.writing import write_file

if TYPE_CHECKING:
    import requests

__all__ = ["FetchError", "Fetched", "Fetcher", "is_url"]

MAX_AGE = 24 * 3600
"""Seconds after which a cached copy is asked about again."""
_END_OF_TIME = 1 << 40
"""Seconds since 1970: JSON has NaN and infinities too."""
_CONNECT_TIMEOUT, _READ_TIMEOUT = 10, 30
_TOTAL_TIMEOUT = 600
_TRIES = 3
_AGAIN = frozenset((408, 429, 500, 502, 503, 504))
_CHUNK = 1 << 16
_MAX_REDIRECTS = 5


class FetchError(AuditError):
    """Something that could not be fetched. The message names the address and a remedy; `status` is what the server said, None where
    there was no whole answer."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class _CutOffError(Exception):
    """An answer that is worth another try."""


@dataclass(frozen=True)
class Fetched:
    """What an address holds. `note` says that a cached copy had to do, and how old it is."""

    url: str
    data: bytes
    note: str | None = None


def is_url(text: str) -> bool:
    """Whether a name is an address on the web rather than a file."""
    return text.lower().startswith(("http://", "https://"))


def _cache_directory() -> Path:
    named = os.environ.get("TAILCALL_AUDIT_HTTP_CACHE")
    if named:
        return Path(named)
    return cache_folder() / "http"


def _age(seconds: float) -> str:
    if seconds < 3600:
        return f"{max(1, round(seconds / 60))} minutes"
    return f"{round(seconds / 3600)} hours" if seconds < 72 * 3600 else f"{round(seconds / 86400)} days"


class _Entry:
    """One address in the cache: its content, and beside it what the server said of it. Both are written whole or not at all."""

    def __init__(self, folder: Path, url: str) -> None:
        name = hashlib.sha256(os.fsencode(url)).hexdigest()
        self._body = folder / name
        self._meta = folder / f"{name}.json"
        self._url = url

    def read(self) -> tuple[bytes, dict[str, Any]] | None:
        """The content and what is known of it; None where there is none, or it isn't what was written."""
        try:
            meta = parse_json(self._meta.read_bytes(), lambda _, words: _CutOffError(words))
            data = self._body.read_bytes()
        except (OSError, _CutOffError):
            return None
        if not isinstance(meta, dict) or meta.get("url") != self._url:
            return None
        kept, fetched = meta.get("validators"), meta.get("fetched")
        if not isinstance(kept, dict) or not all(isinstance(item, str) for item in (*kept, *kept.values())):
            return None
        if not isinstance(fetched, int | float) or not 0 <= fetched < _END_OF_TIME:
            return None
        if hashlib.sha256(data).hexdigest() != meta.get("sha256"):
            return None
        return data, meta

    def write(self, data: bytes, validators: dict[str, str]) -> None:
        """Keep a copy; a cache that can't be written is no reason to fail."""
        meta = {
            "url": self._url,
            "fetched": time.time(),
            "sha256": hashlib.sha256(data).hexdigest(),
            "validators": validators,
        }
        with suppress(OSError):
            self._body.parent.mkdir(parents=True, exist_ok=True)
            write_file(self._body, data)
            write_file(self._meta, json.dumps(meta).encode())


def _own_errors() -> tuple[type[Exception], ...]:
    import requests

    return (requests.RequestException,)


class Fetcher:
    """Fetches addresses. `progress` hears of every part that arrives; `pause` is the seconds before a second try."""

    def __init__(
        self,
        *,
        offline: bool = False,
        refresh: bool = False,
        progress: Callable[[str], None] = lambda _: None,
        remedy: str = "fetch it by other means and give --changelog FILE",
        pause: float = 1.0,
    ) -> None:
        self._offline = offline
        self._refresh = refresh
        self._progress = progress
        self._remedy = remedy
        self._pause = pause
        self._session: requests.Session | None = None

    def get(self, url: str, limit: int, remedy: str | None = None) -> Fetched:
        """Fetch at most `limit` bytes; raises FetchError."""
        import requests

        entry = _Entry(_cache_directory(), url)
        kept = entry.read()
        age = 0.0 if kept is None else time.time() - kept[1]["fetched"]
        if kept is not None and not self._refresh and (self._offline or 0 <= age < MAX_AGE):
            note = f"{url}: the copy fetched {_age(age)} ago is used (--offline)" if self._offline else None
            return Fetched(url, kept[0], note)
        remedy = remedy or self._remedy
        if self._offline:
            raise FetchError(f"{url}: not in the cache, and --offline forbids to fetch it; {remedy}")
        try:
            answer = self._tries(url, limit, {} if kept is None else dict(kept[1].get("validators") or {}))
        except (_CutOffError, requests.RequestException) as error:
            if kept is not None:
                return Fetched(url, kept[0], f"{url}: cannot be reached, so the copy fetched {_age(age)} ago is used")
            raise FetchError(f"{url}: cannot fetch: {_reason(error)}; {remedy}") from error
        if answer is None:
            assert kept is not None
            entry.write(kept[0], kept[1].get("validators") or {})
            return Fetched(url, kept[0])
        data, validators, status = answer
        if status != 200:
            raise FetchError(f"{url}: the server says {status}; {remedy}", status)
        entry.write(data, validators)
        return Fetched(url, data)

    def _open_session(self) -> requests.Session:
        if self._session is None:
            import requests

            from tailcall_audit import __version__

            self._session = requests.Session()
            self._session.max_redirects = _MAX_REDIRECTS
            self._session.headers.update(
                {"User-Agent": f"tailcall-audit/{__version__}", "Accept-Encoding": "identity", "Accept": "*/*"}
            )
        return self._session

    def _tries(self, url: str, limit: int, validators: dict[str, str]) -> tuple[bytes, dict[str, str], int] | None:
        """The content, its validators and the status; None where the cached copy is still the one."""
        import requests

        for number in range(1, _TRIES + 1):
            try:
                return self._try(url, limit, validators)
            except (
                _CutOffError,
                requests.ConnectionError,
                requests.Timeout,
                requests.exceptions.ChunkedEncodingError,
            ):
                if number == _TRIES:
                    raise
                self._progress(f"{url}: no whole answer; try {number + 1} of {_TRIES}")
                time.sleep(self._pause * 2 ** (number - 1))
        raise AssertionError("unreachable")

    def _try(self, url: str, limit: int, validators: dict[str, str]) -> tuple[bytes, dict[str, str], int] | None:
        headers = {
            name: validators[kept]
            for kept, name in (("etag", "If-None-Match"), ("last-modified", "If-Modified-Since"))
            if kept in validators
        }
        self._progress(f"fetching {url}")
        # A request is one call of a library that reads what the server sends, from the first byte of the headers to the last of the body.
        with requests_errors(_CutOffError, _CutOffError, *_own_errors()):
            return self._request(url, limit, headers)

    def _request(self, url: str, limit: int, headers: dict[str, str]) -> tuple[bytes, dict[str, str], int] | None:
        end = time.monotonic() + _TOTAL_TIMEOUT
        with self._open_session().get(
            url, headers=headers, stream=True, timeout=(_CONNECT_TIMEOUT, _READ_TIMEOUT)
        ) as answer:
            if answer.status_code == 304 and headers:
                return None
            if answer.status_code in _AGAIN:
                raise _CutOffError(f"the server says {answer.status_code}")
            if answer.status_code != 200:
                return b"", {}, answer.status_code
            length = answer.headers.get("Content-Length", "")
            total = int(length) if length.isascii() and length.isdigit() and len(length) < 16 else None
            parts: list[bytes] = []
            size = 0
            # What the server packed is left packed: requests unpacks one that is cut off without an error, and without a bound.
            for part in answer.raw.stream(_CHUNK, decode_content=False):
                parts.append(part)
                size += len(part)
                if size > limit:
                    raise FetchError(f"{url}: holds more than {limit >> 20} MiB, which nothing of its kind does")
                if time.monotonic() > end:
                    raise _CutOffError(f"not whole after {_TOTAL_TIMEOUT} s")
                self._progress(f"fetching {url}: {_amount(size, total)}")
            kept = {
                name: answer.headers[name]
                for name in ("etag", "last-modified")
                if len(answer.headers.get(name, "")) in range(1, 500)
            }
            return b"".join(parts), kept, 200


def _amount(size: int, total: int | None) -> str:
    """A bar where the length is known: ``[#####.....] 1.2 of 2.4 MB``."""
    if not total or total < size:
        return f"{size / 1e6:.1f} MB"
    done = round(20 * size / total)
    return f"[{'#' * done}{'.' * (20 - done)}] {size / 1e6:.1f} of {total / 1e6:.1f} MB"


def _reason(error: Exception) -> str:
    """What went wrong, in words: the libraries' own messages are chains of their classes' names."""
    import requests

    text = str(error)
    if isinstance(error, requests.exceptions.SSLError):
        return f"its certificate is not trusted ({text[-120:]})"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy did not take the request"
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
