"""Files are opened in one place, which waits for nothing."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

from tailcall_audit.analyzer.app.main import main
from tailcall_audit.probes.reading import open_file, read_file

ROOT = Path(__file__).parents[2]
READS = frozenset(("open", "read_text", "read_bytes"))
# What stays in a guest, reads this process in /proc, or opens /dev/null; and the two modules that open for all others.
OTHERS = {
    "probes/reading.py",
    "probes/private_folder.py",
    "probes/writing.py",
    "probes/guest/first_process.py",
    "probes/kernel/privileges.py",
    "analyzer/app/streams.py",
    "analyzer/emulator/child.py",
    "probes/kernel/loaded.py",
    "analyzer/kernelfiles/tree_files.py",  # by os.open without following links, and looked at before it is read
    "analyzer/kernelfiles/roots/root.py",  # the same, folder by folder
    "analyzer/kernelfiles/roots/lvm.py",  # a volume of a library, on streams that disk.py opened
    "analyzer/kernelfiles/roots/disk.py",  # what a library reads in a disk's image, whose file is opened by open_file
}


def test_a_regular_file_is_read_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"text")
    (tmp_path / "link").symlink_to("file")
    assert read_file(tmp_path / "link", 4) == b"text"
    with open_file(tmp_path / "link") as file:
        assert file.read(2) == b"te"


def test_a_larger_file_is_an_error_that_names_the_limit(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"text")
    with pytest.raises(OSError, match="larger than 3 bytes"):
        read_file(tmp_path / "file", 3)


def test_no_more_memory_is_taken_than_there_is_to_read(tmp_path: Path) -> None:
    """A buffered file takes what it is asked for at once: 512 MiB for each image, however small."""
    import tracemalloc

    (tmp_path / "file").write_bytes(b"text" * 1_000_000)
    tracemalloc.start()
    try:
        with open_file(tmp_path / "file") as file:
            assert file.read(1 << 30) == b"text" * 1_000_000
        assert read_file(tmp_path / "file", 1 << 30)[:5] == b"textt"
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "missing", "nul"])
def test_what_is_no_regular_file_is_an_error_at_once(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "x"
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    elif kind == "device":
        place.symlink_to("/dev/zero")
    name = f"{place}\0" if kind == "nul" else str(place)
    with pytest.raises(OSError):
        read_file(name, 100)


def _reads(path: Path) -> list[int]:
    """The lines of a module that open a file to read it otherwise than by this project's own module."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        named = isinstance(function, ast.Name) and function.id == "open"
        method = isinstance(function, ast.Attribute) and function.attr in READS
        if named or (method and ast.unparse(function) not in ("tarfile.open",)):
            found.append(node.lineno)
    return found


def test_no_other_module_opens_files() -> None:
    modules = [path for folder in ("analyzer", "probes") for path in (ROOT / folder).rglob("*.py")]
    assert len(modules) > 100
    names = {str(path.relative_to(ROOT)): _reads(path) for path in modules}
    assert {name: lines for name, lines in names.items() if lines and name not in OTHERS} == {}
    assert _reads(Path(__file__))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--catalog", "x", "--kernel", "6.1.170"],
        ["--config", "x"],
        ["--changelog", "x"],
        ["--image", "x"],
        ["--package", "./x"],
        ["--repo", "x"],
        ["--tree", "x"],
        ["--image", "/work/none", "--system-map", "x"],
        ["./x"],
        ["catalog", "lint", "--from", "x"],
    ],
)
def test_a_fifo_under_the_name_of_an_input_is_exit_code_2(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("x")
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("tailcall-audit: ")


@pytest.mark.parametrize("name", ["commits/x.yaml", "branches.yaml", "surveys/debian.json"])
def test_a_fifo_in_the_folder_of_the_catalogue_is_a_complaint(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "catalog" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(place)
    assert main(["catalog", "build", "--from", str(tmp_path / "catalog"), "--output", str(tmp_path / "out")]) in (1, 2)
    said = "".join(capsys.readouterr())
    assert "not a regular file" in said or "a pipe or a device" in said
    assert not (tmp_path / "out").exists()
