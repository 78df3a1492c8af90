"""Parts of made signatures on small trees: what a missing file, a second definition and an unknown call prove."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tailcall_audit.analyzer.catalog.commit import Signature, SignaturePart
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.tree_files import MAX_BYTES
from tailcall_audit.analyzer.model import Confidence, Presence
from tailcall_audit.analyzer.readers.source import SourceReader
from tailcall_audit.analyzer.readers.source_part import Part, PartReader
from tailcall_audit.analyzer.version import parse_version
from tests.memory import MemoryReader

PRESENT, ABSENT, UNKNOWN = Presence.PRESENT, Presence.ABSENT, Presence.UNKNOWN
PATH = "kernel/bpf/run.c"
NEWER = b"int run(void)\n{\n\treturn checked();\n}\n"
OLDER = b"int run(void)\n{\n\treturn plain();\n}\n"
CORE = {"kernel/bpf/core.c": b"\n"}
"""A tree with this file is whole enough for the absence of another one to mean something."""


def _part(**more: object) -> SignaturePart:
    data: dict[str, object] = {
        "name": "it is checked",
        "files": [PATH],
        "scope": {"functions": [["run"]]},
        "present": [["checked()"]],
        "absent": [["plain()"]],
    }
    return SignaturePart.from_data(data | more)


def _decided(files: Mapping[str, bytes], part: SignaturePart, *shared: str) -> Part:
    return PartReader(MemoryReader(files), lambda _: None, shared).part(part)


@pytest.mark.parametrize(
    ("files", "says", "presence"),
    [
        (CORE, "absent", ABSENT),
        # A headers package has neither file: nothing is known of the code.
        ({}, "absent", UNKNOWN),
        (CORE, None, UNKNOWN),
        ({}, None, UNKNOWN),
    ],
)
def test_a_missing_file_is_an_absence_only_where_the_signature_says_so_and_the_tree_is_whole(
    files: Mapping[str, bytes], says: str | None, presence: Presence
) -> None:
    found = _decided(files, _part(missing_file=says))
    assert found.presence is presence
    assert found.detail == f"there is no {PATH}"


@pytest.mark.parametrize(
    ("path", "files", "presence"),
    [
        ("arch/x86/net/run.c", CORE, UNKNOWN),
        ("arch/x86/net/run.c", CORE | {"arch/Kconfig": b"\n"}, ABSENT),
        ("net/core/run.c", CORE, ABSENT),
    ],
)
def test_a_missing_file_of_an_architecture_needs_a_tree_with_architectures(
    path: str, files: Mapping[str, bytes], presence: Presence
) -> None:
    assert _decided(files, _part(files=[path], missing_file="absent")).presence is presence


def test_a_second_definition_in_shared_code_counts() -> None:
    other = "kernel/bpf/other.c"
    assert _decided({PATH: NEWER, other: OLDER}, _part()).presence is PRESENT
    found = _decided({PATH: NEWER, other: OLDER}, _part(), other)
    assert found.presence is UNKNOWN
    assert found.detail == f"two definitions of it differ: {PATH}:1, {other}:1"
    # Only in the files of the part is it the function that the signature means.
    assert _decided({PATH: b"int other;\n", other: NEWER}, _part(), other).presence is UNKNOWN
    # The JIT of one architecture is not shared with another.
    foreign = "arch/x86/net/run.c"
    assert _decided({foreign: NEWER, other: OLDER}, _part(files=[foreign]), other).presence is PRESENT


@pytest.mark.parametrize(
    ("known", "code", "presence"),
    [
        ([], OLDER, ABSENT),
        (["plain"], OLDER, ABSENT),
        (["plain"], b"int run(void)\n{\n\tstrange();\n\treturn plain();\n}\n", UNKNOWN),
        ([], b"int run(void)\n{\n\tstrange();\n\treturn plain();\n}\n", ABSENT),
        (["plain", "strange"], b"int run(void)\n{\n\tstrange();\n\treturn plain();\n}\n", ABSENT),
        (["plain"], b"int run(void)\n{\n\tstrange();\n\treturn checked();\n}\n", PRESENT),
    ],
)
def test_a_call_that_no_known_form_makes_leaves_an_absence_open(
    known: list[str], code: bytes, presence: Presence
) -> None:
    found = _decided({PATH: code}, _part(known_calls=known))
    assert found.presence is presence
    assert ("calls strange, which" in found.detail) is (presence is UNKNOWN)


def test_a_struct_is_named_without_the_brackets_of_a_function() -> None:
    part = _part(scope={"struct": ["aux"]}, present=[["int checked"]], absent=[["int plain"]])
    code = b"struct aux {\n\tint plain;\n};\n"
    assert _decided({PATH: code}, part).detail.startswith("aux has the older form")
    assert _decided({PATH: OLDER}, _part()).detail.startswith("run() has the older form")


def test_a_form_in_a_macro_of_the_file_counts_as_called_code() -> None:
    code = b"#define look(x) checked(x)\nint run(void)\n{\n\treturn look(1);\n}\n"
    assert _decided({PATH: code}, _part(present=[["checked("]])).presence is PRESENT


def test_evidence_says_how_sure_it_is_and_begins_with_its_place(catalog: Catalog) -> None:
    commit = catalog.commits["d6083f040d5d"]
    data = [{"name": "a", "files": [PATH], "scope": {"functions": [["run"]]}, "present": [["checked()"]]}]
    data[0]["absent"] = [["plain()"]]
    made = commit._replace(signature_data=Signature(data))
    found = {
        name: SourceReader(MemoryReader(CORE | {PATH: code})).commit(made)
        for name, code in {"newer": NEWER, "older": OLDER, "other": b"int run(void)\n{\n}\n"}.items()
    }
    assert [(item.presence, item.confidence) for item in found.values()] == [
        (PRESENT, Confidence.HIGH),
        (ABSENT, Confidence.HIGH),
        (UNKNOWN, Confidence.LOW),
    ]
    assert found["newer"].detail.startswith(f"{PATH}:1: ")
    assert found["older"].detail.startswith(f"{PATH}:1: ")
    assert found["other"].detail == "run() has a shape that the catalogue does not know"


def test_only_the_commits_that_are_asked_for_are_read(catalog: Catalog) -> None:
    reader = SourceReader(MemoryReader(CORE))
    assert {item.commit for item in reader.evidence(catalog, ("d6083f040d5d",))} == {"d6083f040d5d"}
    every = {item.commit for item in reader.evidence(catalog)}
    assert {key for key, commit in catalog.commits.items() if commit.signature} <= every


def test_a_file_that_cannot_be_read_is_no_older_tree(catalog: Catalog) -> None:
    """The names are looked for in the BPF code; a file elsewhere that is too large to read may have them."""
    path = "net/core/run.c"
    data = [{"name": "a", "files": [path], "scope": {"functions": [["run"]]}, "present": [["checked()"]]}]
    made = catalog.commits["1c123c567fb1"]._replace(signature_data=Signature(data))
    bpf = ("kernel/bpf/core.c", "kernel/bpf/verifier.c", "include/linux/bpf.h", "include/linux/filter.h")
    whole = dict.fromkeys((*bpf, "arch/x86/net/bpf_jit_comp.c", "arch/Kconfig"), b"\n")
    older = parse_version("5.10.1")

    def about(files: Mapping[str, bytes]) -> Presence:
        return SourceReader(MemoryReader(files), version=older).commit(made, introduces_only=True).presence

    assert about(whole) is ABSENT
    assert about(whole | {path: b"/" * (MAX_BYTES + 1)}) is UNKNOWN
