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


def status_line(connection: socket.socket) -> None:
    drip(connection, b"H")


def header_line(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"X: ")
    drip(connection, b"x")


def interim_answers(connection: socket.socket) -> None:
    drip(connection, b"HTTP/1.1 100 Continue\r\n\r\n")


def body_with_a_length(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"Content-Length: 90000\r\n\r\n")
    drip(connection, b"x")


def body_without_a_length(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"\r\n")
    drip(connection, b"x")


def small_chunks(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    drip(connection, b"1\r\nx\r\n")


def trailers(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n")
    drip(connection, b"X: y\r\n")


@pytest.mark.parametrize(
    "talk",
    [
        status_line,
        header_line,
        interim_answers,
        body_with_a_length,
        body_without_a_length,
        small_chunks,
        trailers,
    ],
)
def test_an_answer_that_never_ends_is_given_up_wherever_it_is(
    talk: Callable[[socket.socket], None], web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "_TOTAL_TIMEOUT", 0.5)
    with serve_raw(talk) as url, pytest.raises(FetchError, match=r"cannot fetch: not whole after 0\.5 s; "):
        fetcher().get(f"{url}/x", 1 << 20)
    assert not list(tmp_path.glob("http/*"))


def test_redirects_without_an_end_share_one_deadline(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow_circle(connection: socket.socket) -> None:
        time.sleep(0.4)
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n")

    monkeypatch.setattr(fetch, "_TOTAL_TIMEOUT", 0.5)
    with serve_raw(slow_circle) as url, pytest.raises(FetchError, match="not whole after"):
        fetcher().get(f"{url}/x", 100)


def long_size_of_a_chunk(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    flood(connection, b"0" * 65536)


def many_headers(connection: socket.socket) -> None:
    connection.sendall(HEAD)
    flood(connection, b"X: y\r\n" * 1000)


def endless_header(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"X: ")
    flood(connection, b"0" * 65536)


@pytest.mark.parametrize("talk", [long_size_of_a_chunk, many_headers, endless_header])
def test_a_flood_outside_of_the_body_is_refused_before_the_time_is_over(
    talk: Callable[[socket.socket], None], web: Web
) -> None:
    with serve_raw(talk) as url, pytest.raises(FetchError, match="cannot fetch") as refused:
        fetcher().get(f"{url}/x", 1 << 20)
    assert "not whole" not in str(refused.value)


def endless_chunks(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    flood(connection, b"4000\r\n" + b"x" * 0x4000 + b"\r\n")


def endless_body(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"\r\n")
    flood(connection, b"x" * 65536)


@pytest.mark.parametrize("talk", [endless_chunks, endless_body])
def test_a_body_without_end_is_refused_at_its_limit(talk: Callable[[socket.socket], None], web: Web) -> None:
    with serve_raw(talk) as url, pytest.raises(FetchError, match="holds more than 1 MiB"):
        fetcher().get(f"{url}/x", 1 << 20)
