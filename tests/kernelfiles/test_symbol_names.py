"""The names of a kernel's functions, in either byte order, and tables of which a part is missing."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailcall_audit.analyzer.kernelfiles.binary import Binary
from tailcall_audit.analyzer.kernelfiles.bootable import read_bootable
from tailcall_audit.analyzer.kernelfiles.containers import Kernel, unpack
from tailcall_audit.analyzer.kernelfiles.package_file import read_package
from tailcall_audit.analyzer.kernelfiles.symbol_names import FunctionNames, function_names
from tests.kernelfiles.symbols import FILLER, table
from tests.kernels import package_file


def binary(data: bytes) -> Binary:
    return Binary(Kernel(data, (), "s390x", False))


@pytest.mark.parametrize(
    ("package", "architecture", "version"),
    [
        ("linux-image-6.12.107+deb13-s390x", "s390x", "6.12.107-1"),
        ("linux-image-6.1.0-47-powerpc64le", "ppc64el", "6.1.170-3"),
        ("linux-binary-7.2.13+deb14-loong64", "loong64", "7.2.13-1"),
        ("linux-image-6.12.117+deb13-riscv64", "riscv64", "6.12.117-1"),
    ],
)
def test_kernels_whose_addresses_are_not_read_have_names(package: str, architecture: str, version: str) -> None:
    path = package_file(package, version, architecture)
    bootable = read_package(str(path)).bootable
    assert bootable is not None
    found = function_names(Binary(unpack(read_bootable(bootable), path.name)), ("bpf_check", "no_such_function"))
    assert found is not None
    assert found.present == {"bpf_check"}
    assert found.symbols > 30_000


@settings(deadline=None, max_examples=20)
@given(st.sets(st.from_regex(r"\A[a-z_]{3,40}\Z"), min_size=1, max_size=8), st.sampled_from("<>"))
def test_each_name_of_a_table_is_found_and_no_other(names: set[str], order: str) -> None:
    data = table(names, order)
    found = function_names(binary(data), {*names, "absent0"})
    assert found == FunctionNames(frozenset(names), len(FILLER) + len(names))


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_table_that_lacks_a_name_is_no_table(order: str) -> None:
    data = table(["bpf_check"], order)
    assert function_names(binary(data), ["bpf_check"]) == FunctionNames(frozenset(("bpf_check",)), len(FILLER) + 1)
    name = bytes([len("bpf_check") + 1]) + b"Tbpf_check"
    assert function_names(binary(data.replace(name, b"")), ["bpf_check"]) is None
    count = struct.pack(f"{order}I", len(FILLER) + 1)
    for fewer in (1, 256):
        changed = data.replace(count, struct.pack(f"{order}I", len(FILLER) + 1 - fewer), 1)
        assert function_names(binary(changed), ["bpf_check"]) is None
    for end in (len(data) // 2, len(data) - 1):
        assert function_names(binary(data[:end]), ["bpf_check"]) is None


def test_a_variant_of_the_compiler_goes_by_the_name_and_data_is_no_function() -> None:
    data = table(["cloned.isra.0", "split.cold"]).replace(b"Tfiller_00007", b"Dfiller_00007")
    asked = ("cloned", "split", "filler_00006", "filler_00007")
    found = function_names(binary(data), asked)
    assert found == FunctionNames(frozenset(("cloned", "split", "filler_00006")), len(FILLER) + 2)
