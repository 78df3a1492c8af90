"""Fetching, from a server on the loopback address: caching, retries, bounds, and what is said when it fails."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import pickle
import re
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tailcall_audit.analyzer.web import fetch
from tailcall_audit.analyzer.web.adapter import amount
from tailcall_audit.analyzer.web.fetch import Fetcher, FetchError
from tests.web.servers import Answer, Web, serve, serve_raw


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("TAILCALL_AUDIT_HTTP_CACHE", str(tmp_path / "http"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serve() as server:
        yield server


def fetcher(*, offline: bool = False, refresh: bool = False) -> Fetcher:
    return Fetcher(offline=offline, refresh=refresh, pause=0.01)


def age(tmp_path: Path, seconds: float) -> None:
    """Make every cached copy older."""
    for path in (tmp_path / "http").iterdir():
        _, head, body = path.read_bytes().split(b"\n", 2)
        meta = json.loads(head)
        meta["fetched"] -= seconds
        rest = json.dumps(meta).encode() + b"\n" + body
        path.write_bytes(hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest)


def test_a_second_call_asks_nobody_and_an_old_copy_is_asked_about(web: Web, tmp_path: Path) -> None:
    def answer(_: int, headers: dict[str, str]) -> Answer:
        return Answer(status=304) if headers.get("If-None-Match") == '"a"' else Answer(b"text", headers={"ETag": '"a"'})

    web.answers["/x"] = answer
    url = f"{web.url}/x"
    assert fetcher().get(url, 100).data == b"text"
    assert fetcher().get(url, 100).data == b"text"
    assert web.count("/x") == 1
    age(tmp_path, fetch.MAX_AGE + 60)
    assert fetcher().get(url, 100) == fetch.Fetched(url, b"text", None)
    assert web.count("/x") == 2
    assert fetcher().get(url, 100).data == b"text"  # what was confirmed is young again
    assert web.count("/x") == 2
    assert fetcher(refresh=True).get(url, 100).data == b"text"
    assert web.count("/x") == 3


def test_last_modified_is_sent_back(web: Web, tmp_path: Path) -> None:
    web.answers["/x"] = Answer(b"1", headers={"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"})
    fetcher().get(f"{web.url}/x", 100)
    fetcher(refresh=True).get(f"{web.url}/x", 100)
    assert web.requests[1][1]["If-Modified-Since"] == "Mon, 01 Jan 2024 00:00:00 GMT"


def test_the_request_names_the_tool_and_its_version(web: Web) -> None:
    web.answers["/x"] = Answer(b"1")
    fetcher().get(f"{web.url}/x", 100)
    assert re.fullmatch(r"tailcall-audit/\d+\.\d+\.\d+", web.requests[0][1]["User-Agent"])


def test_500_and_then_200_is_200(web: Web) -> None:
    web.answers["/x"] = lambda count, _: Answer(status=500) if count == 1 else Answer(b"text")
    assert fetcher().get(f"{web.url}/x", 100).data == b"text"


def test_404_is_said_at_once_with_the_address_and_a_remedy(web: Web) -> None:
    with pytest.raises(FetchError, match=rf"{re.escape(web.url)}/gone: the server says 404; .*--changelog FILE"):
        fetcher().get(f"{web.url}/gone", 100)
    assert web.count("/gone") == 1


def test_an_answer_that_is_cut_off_is_tried_again_and_then_refused(web: Web, tmp_path: Path) -> None:
    web.answers["/x"] = Answer(b"half", length=8)
    with pytest.raises(FetchError, match="cut off"):
        fetcher().get(f"{web.url}/x", 100)
    assert web.count("/x") == 3
    assert not list((tmp_path / "http").glob("*"))
    web.answers["/x"] = lambda count, _: Answer(b"half", length=8) if count < 5 else Answer(b"whole")
    assert fetcher().get(f"{web.url}/x", 100).data == b"whole"


def test_a_slow_server_is_given_up(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "_READ_TIMEOUT", 0.1)
    web.answers["/x"] = Answer(b"text", delay=0.6)
    with pytest.raises(FetchError, match="no answer in time"):
        fetcher().get(f"{web.url}/x", 100)


def test_more_than_allowed_is_refused_while_it_comes(web: Web) -> None:
    web.answers["/x"] = Answer(b"0" * 5_000_000)
    with pytest.raises(FetchError, match="holds more than 1 MiB"):
        fetcher().get(f"{web.url}/x", 1 << 20)


def test_a_compressed_answer_stays_so_and_whoever_unpacks_it_has_a_bound(web: Web) -> None:
    packed = gzip.compress(b"0" * 50_000_000)
    web.answers["/x"] = Answer(packed, headers={"Content-Encoding": "gzip"})
    assert fetcher().get(f"{web.url}/x", 1 << 20).data == packed
    web.answers["/y"] = Answer(packed, headers={"Content-Encoding": "gzip"})
    with pytest.raises(FetchError, match="holds more than"):
        fetcher().get(f"{web.url}/y", 1000)


def test_redirects_are_followed_and_a_circle_is_not(web: Web) -> None:
    web.answers["/a"] = Answer(status=302, headers={"Location": "/b"})
    web.answers["/b"] = Answer(b"text")
    web.answers["/c"] = Answer(status=302, headers={"Location": "/c"})
    web.answers["/d"] = Answer(status=302, headers={"Location": "file:///etc/passwd"})
    assert fetcher().get(f"{web.url}/a", 100).data == b"text"
    with pytest.raises(FetchError, match="more than 5 redirects"):
        fetcher().get(f"{web.url}/c", 100)
    with pytest.raises(FetchError, match="cannot fetch"):
        fetcher().get(f"{web.url}/d", 100)


def test_without_a_network_the_cached_copy_is_used_and_its_age_is_said(web: Web, tmp_path: Path) -> None:
    web.answers["/x"] = Answer(b"text")
    url = f"{web.url}/x"
    fetcher().get(url, 100)
    age(tmp_path, 5 * 86400)
    web.answers["/x"] = Answer(status=503)
    found = fetcher().get(url, 100)
    assert found.data == b"text"
    assert found.note == f"{url}: cannot be reached, so the copy fetched 5 days ago is used"
    assert fetcher(offline=True).get(url, 100).note == f"{url}: the copy fetched 5 days ago is used (--offline)"


def test_offline_without_a_copy_is_an_error(web: Web) -> None:
    with pytest.raises(FetchError, match="not in the cache, and --offline"):
        fetcher(offline=True).get(f"{web.url}/x", 100)
    assert web.requests == []


def test_no_server_names_the_address(web: Web) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(
        FetchError, match=rf"http://127.0.0.1:{port}/x: cannot fetch: no connection; .*--changelog FILE"
    ):
        fetcher().get(f"http://127.0.0.1:{port}/x", 100)


def test_a_cache_that_was_changed_or_cannot_be_written_is_no_cache(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.answers["/x"] = Answer(b"text")
    fetcher().get(f"{web.url}/x", 100)
    for path in (tmp_path / "http").iterdir():
        path.write_bytes(path.read_bytes()[:-1] + b"T")
    assert fetcher().get(f"{web.url}/x", 100).data == b"text"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TAILCALL_AUDIT_HTTP_CACHE", str(tmp_path / "file/http"))
    assert fetcher().get(f"{web.url}/x", 100).data == b"text"
    assert web.count("/x") == 3


def test_a_copy_from_the_future_is_asked_about(web: Web, tmp_path: Path) -> None:
    web.answers["/x"] = Answer(b"text")
    fetcher().get(f"{web.url}/x", 100)
    age(tmp_path, time.time() - 1e11)
    fetcher().get(f"{web.url}/x", 100)
    assert web.count("/x") == 2


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


def copy_of(tmp_path: Path) -> Path:
    (path,) = (tmp_path / "http").iterdir()
    return path


def test_a_redirected_answer_is_kept_once(web: Web, tmp_path: Path) -> None:
    web.answers["/a"] = Answer(status=302, headers={"Location": "/b"})
    web.answers["/b"] = Answer(b"text")
    for _ in range(2):
        assert fetcher().get(f"{web.url}/a", 100).data == b"text"
    assert web.count("/a") == web.count("/b") == 1
    assert copy_of(tmp_path).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "http").stat().st_mode & 0o777 == 0o700


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def let_others_write(path: Path) -> None:
    path.chmod(0o666)


def link(path: Path) -> None:
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to(path.parent.parent / "elsewhere")


def make_a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def give_away(path: Path) -> None:
    os.chown(path, 65534, 65534)


def swap_the_address(path: Path) -> None:
    _, head, body = path.read_bytes().split(b"\n", 2)
    rest = head.replace(b"/x", b"/y") + b"\n" + body
    path.write_bytes(hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest)


ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")


@pytest.mark.parametrize(
    "spoil",
    [
        shorten,
        empty,
        let_others_write,
        link,
        make_a_fifo,
        pytest.param(give_away, marks=ROOT),
        swap_the_address,
    ],
)
def test_a_copy_that_may_not_be_ours_is_made_anew(spoil: Callable[[Path], None], web: Web, tmp_path: Path) -> None:
    web.answers["/x"] = Answer(b"text")
    url = f"{web.url}/x"
    fetcher().get(url, 100)
    spoil(copy_of(tmp_path))
    with pytest.raises(FetchError, match="not in the cache"):
        fetcher(offline=True).get(url, 100)
    assert fetcher().get(url, 100) == fetch.Fetched(url, b"text", None)
    assert web.count("/x") == 2
    assert stat.S_ISREG(copy_of(tmp_path).lstat().st_mode)
    assert copy_of(tmp_path).stat().st_mode & 0o777 == 0o600
    assert fetcher(offline=True).get(url, 100).data == b"text"


def test_a_pickle_in_the_cache_is_not_loaded(web: Web, tmp_path: Path) -> None:
    class Canary:
        def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
            return os.mkdir, (str(tmp_path / "RAN"),)

    web.answers["/x"] = Answer(b"text")
    fetcher().get(f"{web.url}/x", 100)
    data = pickle.dumps(Canary())
    for content in (data, hashlib.sha256(data).hexdigest().encode() + b"\n" + data):
        copy_of(tmp_path).write_bytes(content)
        assert fetcher().get(f"{web.url}/x", 100).data == b"text"
    assert not (tmp_path / "RAN").exists()


def test_a_folder_that_others_may_write_to_is_closed_to_them(web: Web, tmp_path: Path) -> None:
    (tmp_path / "http").mkdir()
    (tmp_path / "http").chmod(0o777)
    web.answers["/x"] = Answer(b"text")
    assert fetcher().get(f"{web.url}/x", 100).note is None
    assert (tmp_path / "http").stat().st_mode & 0o777 == 0o700


@ROOT
@pytest.mark.parametrize("linked", [False, True])
def test_a_folder_of_another_user_is_not_used_and_named(linked: bool, web: Web, tmp_path: Path) -> None:
    folder = tmp_path / "http"
    (tmp_path / "real").mkdir()
    if linked:
        folder.symlink_to("real")
    else:
        (tmp_path / "real").rename(folder)
    os.chown(folder, 65534, 65534, follow_symlinks=False)
    web.answers["/x"] = Answer(b"text")
    found = fetcher().get(f"{web.url}/x", 100)
    assert found.data == b"text"
    assert found.note is not None
    assert f"{folder}: not used as a cache: it " in found.note
    assert "another user" in found.note
    assert not list(folder.iterdir())
    with pytest.raises(FetchError, match="another user"):
        fetcher(offline=True).get(f"{web.url}/x", 100)


def test_progress_shows_a_bar() -> None:
    assert amount(500_000, 1_000_000) == "[##########..........] 0.5 of 1.0 MB"
    assert amount(500_000, None) == "0.5 MB"
