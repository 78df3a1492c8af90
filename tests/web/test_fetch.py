"""Fetching, from a server on the loopback address: caching, retries, bounds, and what is said when it fails."""

from __future__ import annotations

import gzip
import re
import socket
from pathlib import Path

import pytest

from tailcall_audit.analyzer.web import fetch
from tailcall_audit.analyzer.web.adapter import amount
from tailcall_audit.analyzer.web.fetch import FetchError
from tests.web.fetchers import age, fetcher
from tests.web.servers import Answer, Web


def test_a_second_call_fetches_nothing_and_an_old_copy_is_asked_about(web: Web, tmp_path: Path) -> None:
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
    with pytest.raises(FetchError, match=rf"{re.escape(web.url)}/gone: the server says 404; .*changelog=FILE"):
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


def test_a_compressed_answer_stays_so_and_is_unpacked_within_a_bound(web: Web) -> None:
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
    assert fetcher(offline=True).get(url, 100).note == f"{url}: the copy fetched 5 days ago is used (offline)"


def test_offline_without_a_copy_is_an_error(web: Web) -> None:
    with pytest.raises(FetchError, match="not in the cache, and offline"):
        fetcher(offline=True).get(f"{web.url}/x", 100)
    assert web.requests == []


def test_no_server_names_the_address(web: Web) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(FetchError, match=rf"http://127.0.0.1:{port}/x: cannot fetch: no connection; .*changelog=FILE"):
        fetcher().get(f"http://127.0.0.1:{port}/x", 100)


def test_progress_shows_a_bar() -> None:
    assert amount(500_000, 1_000_000) == "[##########..........] 0.5 of 1.0 MB"
    assert amount(500_000, None) == "0.5 MB"
