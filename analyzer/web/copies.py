# ruff: noqa: ANN401 (what a library's own method takes)
"""The copies of fetched data on disk, for requests-cache: a file an address. A file is used only if no other user could
have written it.

A file is the SHA-256 of the rest in hexadecimal digits, a line of JSON, and the body. Nothing in it names a type or a
function: the serializers of requests-cache use pickle or make objects of what a file says.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from requests import PreparedRequest, Response
from requests.structures import CaseInsensitiveDict
from requests_cache import CachedSession
from requests_cache.backends.base import BaseCache, BaseStorage
from requests_cache.models.request import CachedRequest
from requests_cache.models.response import CachedResponse

from tailcall_audit.analyzer.libraries import parse_json
from tailcall_audit.probes.private_folder import PrivateFolder

__all__ = ["Copies", "CopyingSession", "key_of"]

_VALIDATORS = ("etag", "last-modified")
_LONGEST = 500
"""Characters of a validator that is kept."""
_MOST_HEAD = 1 << 16
_END_OF_TIME = 1 << 40
"""Seconds since 1970: JSON has NaN and infinities too."""
_PAST = datetime.fromtimestamp(0, UTC)
_DIGITS = 64


class _Head(NamedTuple):
    """The facts about a copy: its address, when it was fetched or confirmed (seconds since 1970), and its validators."""

    url: str
    fetched: float
    validators: dict[str, str]


def key_of(request: PreparedRequest, **_: object) -> str:
    """Returns the name of a copy. requests-cache's own has 64 bits, and is of an address that it changes."""
    return hashlib.sha256(os.fsencode(request.url or "")).hexdigest()


class CopyingSession(CachedSession):
    """A session that keeps answers in `copies`, by the address that was asked for. Redirects are kept in memory only."""

    def __init__(self, copies: Copies, expire_after: float) -> None:
        cache: BaseCache = BaseCache()
        cache.responses = copies
        super().__init__(backend=cache, key_fn=key_of, expire_after=expire_after, allowable_codes=(200,))

    def resolve_redirects(self, *arguments: Any, **named: Any) -> Iterator[Response]:
        """Yields the answers behind a redirect, each of which would be kept a second time."""
        with self.cache_disabled():
            yield from super().resolve_redirects(*arguments, **named)


class Copies(BaseStorage[str, CachedResponse]):
    """The copies in a folder. One is fresh for `max_age` seconds (infinity: always).

    `limit` is the most bytes of a body that are read. `complaint` is why the folder could not be used, where it could
    not.
    """

    def __init__(self, folder: str | os.PathLike[str], max_age: float) -> None:
        super().__init__()
        self._folder = PrivateFolder(folder)
        self._max_age = max_age
        self.limit = 0
        self.complaint: str | None = None

    def __getitem__(self, key: str) -> CachedResponse:
        found = _parsed(self._read(key) or b"")
        if found is None:
            raise KeyError(key)
        head, body = found
        fetched = datetime.fromtimestamp(head.fetched, UTC)
        fresh = 0 <= time.time() - head.fetched < self._max_age
        end = fetched + timedelta(seconds=self._max_age) if fresh and not math.isinf(self._max_age) else _PAST
        request = CachedRequest(method="GET", url=head.url)
        if key_of(request.prepare()) != key:
            raise KeyError(key)
        response = CachedResponse(
            content=body,
            created_at=fetched,
            expires=None if math.isinf(self._max_age) else end,
            headers=CaseInsensitiveDict(head.validators),
            reason="OK",
            request=request,
            status_code=200,
            url=head.url,
        )
        response.cache_key = key
        return response

    def __setitem__(self, key: str, response: CachedResponse) -> None:
        validators = {
            name: response.headers[name]
            for name in _VALIDATORS
            if len(response.headers.get(name, "")) in range(1, _LONGEST)
        }
        asked = response.history[0] if response.history else response
        head = _Head(asked.request.url or "", time.time(), validators)
        rest = json.dumps(head._asdict()).encode() + b"\n" + (response.content or b"")
        try:
            self._folder.write(key, hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest)
        except OSError as error:
            # A cache that can't be written is no reason to fail.
            self._complain(error)

    def __delitem__(self, key: str) -> None:
        try:
            self._folder.remove(key)
        except OSError as error:
            self._complain(error)

    def __iter__(self) -> Iterator[str]:
        try:
            yield from self._folder.names()
        except OSError as error:
            self._complain(error)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _read(self, key: str) -> bytes | None:
        try:
            return self._folder.read(key, self.limit + _MOST_HEAD)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._complain(error)
            return None

    def _complain(self, error: OSError) -> None:
        self.complaint = f"{self._folder.path}: not used as a cache: {error.strerror or error}"


def _parsed(data: bytes) -> tuple[_Head, bytes] | None:
    """Returns the content of a file; None if its digest does not match."""
    digest, rest = data[:_DIGITS], memoryview(data)[_DIGITS + 1 :]
    if data[_DIGITS : _DIGITS + 1] != b"\n" or hashlib.sha256(rest).hexdigest().encode() != digest:
        return None
    end = data.find(b"\n", _DIGITS + 1, _DIGITS + _MOST_HEAD)
    if end < 0:
        return None
    try:
        found = parse_json(data[_DIGITS + 1 : end], lambda _, words: ValueError(words))
    except ValueError:
        return None
    if not isinstance(found, dict) or found.keys() != set(_Head._fields):
        return None
    url, fetched, validators = found["url"], found["fetched"], found["validators"]
    if not isinstance(url, str) or not isinstance(fetched, int | float) or not 0 <= fetched < _END_OF_TIME:
        return None
    if not isinstance(validators, dict) or not all(
        isinstance(item, str) for item in (*validators, *validators.values())
    ):
        return None
    return _Head(url, fetched, validators), data[end + 1 :]
