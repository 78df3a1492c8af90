"""Servers that never end an answer, or send more than allowed, wherever in the answer that is."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tailcall_audit.analyzer.web import fetch
from tailcall_audit.analyzer.web.fetch import FetchError
from tests.web.fetchers import fetcher
from tests.web.servers import Web, serve_raw

HEAD = b"HTTP/1.1 200 OK\r\n"


def drip(connection: socket.socket, data: bytes) -> None:
    """Send the same few bytes for as long as the client listens, none of which ends anything."""
    while True:
        connection.sendall(data)
        time.sleep(0.02)


def flood(connection: socket.socket, data: bytes) -> None:
    while True:
        connection.sendall(data)


CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
DRIPPING = {
    "status line": (b"", b"H"),
    "header line": (HEAD + b"X: ", b"x"),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body with a length": (HEAD + b"Content-Length: 90000\r\n\r\n", b"x"),
    "body without a length": (HEAD + b"\r\n", b"x"),
    "small chunks": (CHUNKED, b"1\r\nx\r\n"),
    "trailers": (CHUNKED + b"0\r\n", b"X: y\r\n"),
}
"""What is sent once, and what is sent again and again."""
FLOODS = {
    "size of a chunk": (CHUNKED, b"0" * 65536),
    "many headers": (HEAD, b"X: y\r\n" * 1000),
    "endless header": (HEAD + b"X: ", b"0" * 65536),
}
BODIES = {
    "endless chunks": (CHUNKED, b"4000\r\n" + b"x" * 0x4000 + b"\r\n"),
    "endless body": (HEAD + b"\r\n", b"x" * 65536),
}


def sending(
    again: Callable[[socket.socket, bytes], None], start: bytes, rest: bytes
) -> Callable[[socket.socket], None]:
    def talk(connection: socket.socket) -> None:
        connection.sendall(start)
        again(connection, rest)

    return talk


@pytest.mark.parametrize("name", DRIPPING)
def test_an_answer_that_never_ends_is_given_up_wherever_it_is(
    name: str, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "_TOTAL_TIMEOUT", 0.5)
    expected = pytest.raises(FetchError, match=r"cannot fetch: not whole after 0\.5 s; ")
    with serve_raw(sending(drip, *DRIPPING[name])) as url, expected:
        fetcher().get(f"{url}/x", 1 << 20)
    assert not list(tmp_path.glob("http/*"))


def test_redirects_without_an_end_share_one_deadline(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow_circle(connection: socket.socket) -> None:
        time.sleep(0.4)
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n")

    monkeypatch.setattr(fetch, "_TOTAL_TIMEOUT", 0.5)
    with serve_raw(slow_circle) as url, pytest.raises(FetchError, match="not whole after"):
        fetcher().get(f"{url}/x", 100)


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_outside_of_the_body_is_refused_before_the_time_is_over(name: str, web: Web) -> None:
    with serve_raw(sending(flood, *FLOODS[name])) as url, pytest.raises(FetchError, match="cannot fetch") as refused:
        fetcher().get(f"{url}/x", 1 << 20)
    assert "not whole" not in str(refused.value)


@pytest.mark.parametrize("name", BODIES)
def test_a_body_without_end_is_refused_at_its_limit(name: str, web: Web) -> None:
    with serve_raw(sending(flood, *BODIES[name])) as url, pytest.raises(FetchError, match="holds more than 1 MiB"):
        fetcher().get(f"{url}/x", 1 << 20)
