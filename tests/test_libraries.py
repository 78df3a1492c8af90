"""What libraries raise on input that lies: each was seen as an internal error, found by fuzzing, and is one of ours
now.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailcall_audit import AuditError, State, audit
from tailcall_audit.analyzer import libraries as adapters
from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.kernelfiles.binary import Binary, Function
from tailcall_audit.analyzer.kernelfiles.containers import ImageError, Kernel, unpack
from tailcall_audit.analyzer.kernelfiles.package_file import read_package
from tailcall_audit.analyzer.kernelfiles.package_types import PackageError
from tailcall_audit.analyzer.libraries import parse_json
from tailcall_audit.analyzer.readers.code.isa import isas
from tailcall_audit.analyzer.readers.code.registry import findings
from tailcall_audit.analyzer.web.fetch import Fetcher, FetchError
from tailcall_audit.probes.kernel.btf import Btf
from tailcall_audit.probes.kernel.btf_writer import Writer
from tests.debs import CONTROL, deb, tar
from tests.kernelfiles.images import bzimage, lz4_legacy
from tests.rpms import FIRST, RHEL, rpm
from tests.web.servers import Answer, serve

X86_64 = isas()["x86_64"]

ADAPTERS = [getattr(adapters, name) for name in adapters.__all__ if name.endswith("_errors")]


class OursError(AuditError):
    """An error of this tool."""


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.__name__)
def test_an_adapter_lets_no_error_of_a_library_through(adapter: Callable[[type[OursError]], object]) -> None:
    for error in (
        KeyError("x"),
        struct.error("x"),
        MemoryError(),
        RecursionError("x"),
        UnicodeDecodeError("x", b"", 0, 1, "x"),
    ):
        with pytest.raises(OursError, match=r"\S"), adapter(OursError):  # type: ignore[attr-defined]
            raise error
    with pytest.raises(PackageError, match="already ours"), adapter(OursError):  # type: ignore[attr-defined]
        raise PackageError("already ours")
    with pytest.raises(KeyboardInterrupt), adapter(OursError):  # type: ignore[attr-defined]
        raise KeyboardInterrupt


@given(st.one_of(st.binary(max_size=60), st.text('[]{}",:0123456789.eE+-ntrufalsk \\', max_size=60).map(str.encode)))
def test_any_json_is_a_value_or_our_error(data: bytes) -> None:
    try:
        found = parse_json(data, lambda where, words: OursError(f"{where} {words}"))
    except OursError:
        return
    assert found is None or isinstance(found, str | int | float | list | dict)


@pytest.mark.parametrize("data", [b'{"a": ' + b"9" * 5000 + b"}", b"[" * 100_000, b"\xff", b"{", b""])
def test_json_that_python_refuses_in_its_own_ways(data: bytes) -> None:
    with pytest.raises(OursError, match=r"\S"):
        parse_json(data, lambda where, words: OursError(f"{where} {words}"))


def test_a_catalogue_nested_400_times_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tailcall_audit.analyzer.catalog.load import default_catalog_path

    data = json.loads(Path(default_catalog_path()).read_text())
    for depth in (40, 400):
        expression: object = data["defects"][0]["fixed"]
        for _ in range(depth):
            expression = {"not": expression}
        changed = {**data, "defects": [{**data["defects"][0], "fixed": expression}, *data["defects"][1:]]}
        (tmp_path / "commits.json").write_text(json.dumps(changed))
        assert main(["--kernel", "6.1", "--catalog", str(tmp_path / "commits.json")]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_broken_lz4_data_in_a_bzimage() -> None:
    packed = bytearray(lz4_legacy(bytes(range(256)) * 40))
    packed[8:40] = b"\xff" * 32
    with pytest.raises(ImageError, match="vmlinuz: broken lz4 data"):
        unpack(bzimage(bytes(packed)), "vmlinuz")


def types(offset_of_name: int | None = None, inner: int | None = None) -> Btf:
    """What the signatures of code look at; the name of a member may lie outside of the strings, or its type beyond the
    last.
    """
    writer = Writer()
    number = writer.integer("int", 4)
    pointer = writer.pointer(0)
    writer.function("bpf_check", writer.prototype(number, []), 1)
    members = [("ops", pointer, 0), ("dst_prog", pointer, 64), ("", number if inner is None else inner, 128)]
    writer.struct("bpf_prog_aux", 64, members)
    writer.struct("bpf_prog", 64, [("type", number, 0), ("aux", pointer, 64)])
    data = bytearray(writer.encode())
    if offset_of_name is not None:
        place = data.find(struct.pack("<III", data.find(b"dst_prog\0") - data.rfind(b"\0int\0"), pointer, 64))
        struct.pack_into("<I", data, place, offset_of_name)
    return Btf(bytes(data))


@pytest.mark.parametrize("btf", [types(offset_of_name=0x7FFFFFFF), types(inner=0x7FFFFFF0)], ids=["name", "type"])
def test_broken_types_of_a_kernel_silence_the_signatures_that_need_them(btf: Btf) -> None:
    code = b"\x31\xc0\xc3"  # xor eax, eax; ret
    names = ("bpf_prog_map_compatible", "prog_fd_array_get_ptr", "do_jit")
    functions = {name: Function(name, 0xFFFFFFFF81000000, code) for name in names}
    notes: list[str] = []
    assert list(findings(X86_64, functions, btf, notes.append)) == []
    assert notes
    assert set(notes) <= {
        "its BTF is broken: no name of at most 1024 bytes at 2147483647",
        "its BTF is broken: no type 2147483632",
    }


def test_an_elf_file_that_lies_leaves_notes() -> None:
    header = bytearray(b"\x7fELF\2\1\1".ljust(16, b"\0") + struct.pack("<HHI", 2, 62, 1) + bytes(40))
    struct.pack_into("<Q", header, 40, 1 << 62)
    struct.pack_into("<HHH", header, 58, 64, 9, 1)
    binary = Binary(Kernel(bytes(header) + b"Linux version 6.1.170 (x) #1 SMP\0", ("ELF",), "x86_64", True))
    assert binary.functions(["do_jit"]) == {}
    assert any("ELF sections cannot be read" in note for note in binary.notes)


ARCH, TIMES, AUTHORS, INDEXES = 1022, 1080, 1081, 1116


@pytest.mark.parametrize(
    ("tag", "kind", "message"),
    [
        (ARCH, 8, "tag ARCH holds several texts"),
        (TIMES, 8, "tag CHANGELOGTIME holds no numbers"),
        (TIMES, 7, "tag CHANGELOGTIME holds no numbers"),
        (AUTHORS, 4, "tag CHANGELOGNAME holds no text"),
        (INDEXES, 8, "tag DIRINDEXES holds no numbers"),
    ],
)
def test_an_rpm_whose_tags_have_other_types(tmp_path: Path, tag: int, kind: int, message: str) -> None:
    path = rpm(tmp_path, RHEL + FIRST)
    data = bytearray(path.read_bytes())
    entries, size = struct.unpack_from(">II", data, 96 + 8)
    start = 96 + 16 + entries * 16 + size
    start += -start % 8
    (count,) = struct.unpack_from(">I", data, start + 8)
    (place,) = (
        place
        for place in range(start + 16, start + 16 + 16 * count, 16)
        if struct.unpack_from(">I", data, place)[0] == tag
    )
    struct.pack_into(">I", data, place + 4, kind)
    if tag == ARCH:
        struct.pack_into(">I", data, place + 12, 2)
    path.write_bytes(data)
    with pytest.raises(PackageError, match=f"a broken RPM: {message}"):
        read_package(str(path))


@pytest.mark.parametrize(
    ("word", "known"), [(b"alpha", "alpha"), (b"sh4", "sh"), (b"ia64", "ia64"), (b"m68k", "m68k"), (b"zz", None)]
)
def test_a_package_of_any_architecture_is_audited(tmp_path: Path, word: bytes, known: str | None) -> None:
    control = CONTROL.replace(b"amd64\n", word + b"\n")
    assert control != CONTROL
    target = audit(packages=[deb(tmp_path, tar({}), control, "data.tar")]).targets[0]
    assert target.identity["architecture"] == known
    note = f"its architecture {word.decode()!r} is not known: judged for every one"
    assert any(note in text for text in target.notes) == (known is None)
    # A word that names no architecture excludes nothing.
    assert (target.states["x86-hierarchy"] is State.NOT_AFFECTED) == (known is not None)


def test_a_redirect_to_an_address_that_is_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILCALL_AUDIT_HTTP_CACHE", str(tmp_path))
    with serve() as web:
        web.answers["/x"] = Answer(status=302, headers={"Location": "/\xff\xfe"})
        web.answers["/y"] = Answer(status=302, headers={"Location": "gopher://x/"})
        for path in "xy":
            with pytest.raises(FetchError, match=f"/{path}: cannot fetch"):
                Fetcher(pause=0.0).get(f"{web.url}/{path}", 1000)


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://a..b/", "http://x\udcff/", "http://", "http://exa mple/", "http://127.0.0.1:99999/"]
)
def test_addresses_that_are_none(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILCALL_AUDIT_HTTP_CACHE", str(tmp_path))
    with pytest.raises(FetchError, match="cannot fetch"):
        Fetcher(pause=0.0).get(url, 1000)
    with pytest.raises(FetchError, match="and offline forbids"):
        Fetcher(offline=True).get(url, 1000)


@pytest.mark.parametrize(
    "meta",
    [
        b"[" * 100_000,
        b"null",
        b"[]",
        b'{"fetched": NaN}',
        b'{"fetched": ' + b"9" * 5000 + b"}",
        b"\xff",
        b'{"validators": 1}',
    ],
)
def test_a_cached_answer_that_was_tampered_with_is_no_answer(
    meta: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    monkeypatch.setenv("TAILCALL_AUDIT_HTTP_CACHE", str(tmp_path))
    url = "http://127.0.0.1:1/x"
    name = hashlib.sha256(url.encode()).hexdigest()
    whole = json.dumps({"url": url, "fetched": 1e9, "validators": {}}).encode()

    def keep(head: bytes) -> None:
        rest = head + b"\nbody"
        (tmp_path / name).write_bytes(hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest)
        (tmp_path / name).chmod(0o600)

    keep(whole)
    assert Fetcher(offline=True).get(url, 1000).data == b"body"
    keep(whole[:-1] + b", " + meta[1:] if meta.startswith(b"{") else meta)
    with pytest.raises(FetchError, match="not in the cache"):
        Fetcher(offline=True).get(url, 1000)
