"""The copies that are kept of answers: whose they are, and which are not used."""

from __future__ import annotations

import hashlib
import os
import pickle
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tailcall_audit.analyzer.web import fetch
from tailcall_audit.analyzer.web.fetch import FetchError
from tests.caches import ROOT, give_away, let_others_write, link
from tests.web.fetchers import age, fetcher
from tests.web.servers import Answer, Web


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


def make_a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def swap_the_address(path: Path) -> None:
    _, head, body = path.read_bytes().split(b"\n", 2)
    rest = head.replace(b"/x", b"/y") + b"\n" + body
    path.write_bytes(hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest)


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
