"""Root file systems: folders and tar archives, by their names and links."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from tailcall_audit.analyzer.live.pythons.roots import Root, RootError, open_root, resolve

FILES = {"usr/lib/os.py": b"os", "usr/bin/python3.11": b"\x7fELF"}
LINKS = {
    "bin": "usr/bin",
    "usr/bin/python3": "python3.11",
    "usr/lib/up": "../../../usr/lib/os.py",
    "usr/lib/absolute": "/usr/lib/os.py",
    "loop": "loop",
    "nowhere": "/gone",
}


def tree(folder: Path) -> Path:
    """A root file system in a folder."""
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    for name, target in LINKS.items():
        (folder / name).symlink_to(target)
    return folder


def archive(path: Path, *, packed: bool = False, form: int = tarfile.GNU_FORMAT) -> Path:
    """The same in a tar archive, with ./ in front as tar(1) and Docker write it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, data in FILES.items():
            item = tarfile.TarInfo(f"./{name}")
            item.size = len(data)
            # A time with a fraction makes a pax header.
            item.mtime = 1e9 + 0.5 if form == tarfile.PAX_FORMAT else 0
            tar.addfile(item, io.BytesIO(data))
        for name, target in LINKS.items():
            item = tarfile.TarInfo(name)
            item.type, item.linkname = tarfile.SYMTYPE, target
            tar.addfile(item)
        item = tarfile.TarInfo("usr/lib/hard")
        item.type, item.linkname = tarfile.LNKTYPE, "./usr/lib/os.py"
        tar.addfile(item)
    path.write_bytes(gzip.compress(out.getvalue()) if packed else out.getvalue())
    return path


@pytest.fixture(params=["folder", "tar", "tar.gz", "pax"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Root:
    """A root file system of each kind."""
    if request.param == "folder":
        return open_root(tree(tmp_path))
    form = tarfile.PAX_FORMAT if request.param == "pax" else tarfile.GNU_FORMAT
    return open_root(archive(tmp_path / "root", packed=request.param == "tar.gz", form=form))


@pytest.mark.parametrize(
    ("path", "real"),
    [
        ("usr/lib/os.py", "usr/lib/os.py"),
        ("/usr//lib/./os.py", "usr/lib/os.py"),
        ("bin/python3", "usr/bin/python3.11"),
        ("usr/lib/up", "usr/lib/os.py"),
        ("usr/lib/absolute", "usr/lib/os.py"),
        ("../../usr/lib/os.py", "usr/lib/os.py"),
        ("loop", None),
        ("nowhere", None),
        ("usr/lib/none", None),
    ],
)
def test_links_lead_nowhere_but_into_the_root(root: Root, path: str, real: str | None) -> None:
    assert resolve(root, path) == real


def test_names_and_contents(root: Root) -> None:
    assert root.names("usr") == ["bin", "lib"]
    assert root.names("usr/none") == []
    assert root.content("usr/lib/os.py") == b"os"
    with pytest.raises(RootError, match="none"):
        root.content("usr/lib/none")


def test_a_hard_link_is_its_file(tmp_path: Path) -> None:
    root = open_root(archive(tmp_path / "root.tar"))
    assert resolve(root, "usr/lib/hard") == "usr/lib/os.py"


def test_what_is_no_root_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(RootError, match="none: no such file: give a root file system"):
        open_root(tmp_path / "none")
    (tmp_path / "text").write_bytes(b"no archive " * 100)
    with pytest.raises(RootError, match=r"."):
        open_root(tmp_path / "text")
    half = archive(tmp_path / "half", packed=True)
    half.write_bytes(half.read_bytes()[:-20])
    with pytest.raises(Exception, match="half"):
        open_root(half)


def test_a_header_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    out = io.BytesIO()
    item = tarfile.TarInfo("x")
    item.type, item.size = tarfile.XHDTYPE, 1 << 30
    out.write(item.tobuf(tarfile.USTAR_FORMAT))
    (tmp_path / "root.tar").write_bytes(out.getvalue() + bytes(10240))
    with pytest.raises(RootError):
        open_root(tmp_path / "root.tar")
