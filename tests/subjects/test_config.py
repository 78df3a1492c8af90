"""Configurations: what excludes a defect and what does not."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailcall_audit import State, audit
from tailcall_audit.analyzer.kernelfiles.kconfig import ConfigError, parse_config, read_config
from tests import zstd

HEADER = "#\n# Automatically generated file; DO NOT EDIT.\n# Linux/{} {} Kernel Configuration\n#\n"
USUAL = "CONFIG_64BIT=y\nCONFIG_X86_64=y\nCONFIG_BPF_SYSCALL=y\nCONFIG_BPF_JIT=y\nCONFIG_BPF_EVENTS=y\nCONFIG_CGROUP_BPF=y\nCONFIG_NET=y\n"
REST = "".join(f"# CONFIG_OTHER_{number} is not set\n" for number in range(250)) + "# end of Kernel hacking\n"
"""What makes a configuration as long as a generated one, and closes its last menu."""


def write(path: Path, text: str, version: str = "6.1.170", arch: str = "x86", header: bool = True) -> Path:
    path.write_text(HEADER.format(arch, version) + text + REST if header else text)
    return path


def state(slug: str, config: Path, kernel: str | None = "6.1.170", arch: str | None = None) -> State:
    report = audit(kernels=[kernel] if kernel else [], config=config, arch=arch, only=[slug])
    return report.targets[0].verdicts[0].state


@pytest.mark.parametrize(
    ("off", "slug"),
    [
        ("BPF_SYSCALL", "freplace-loop"),
        ("BPF_JIT", "freplace-loop"),
        ("BPF_JIT", "x86-hierarchy"),
        ("BPF_SYSCALL", "tailcall-pkt-pointers"),
    ],
)
def test_an_option_that_is_off_excludes(tmp_path: Path, off: str, slug: str) -> None:
    config = write(tmp_path / "config", USUAL)
    assert state(slug, config) is State.AFFECTED
    write(config, USUAL.replace(f"CONFIG_{off}=y", f"# CONFIG_{off} is not set"))
    assert state(slug, config) is State.NOT_AFFECTED
    write(config, USUAL.replace(f"CONFIG_{off}=y\n", ""))
    assert state(slug, config) is State.NOT_AFFECTED


def test_bpf_events_excludes_only_what_needs_tracing(tmp_path: Path) -> None:
    config = write(
        tmp_path / "config", USUAL.replace("CONFIG_BPF_EVENTS=y", "# CONFIG_BPF_EVENTS is not set"), "5.10.218"
    )
    assert state("x86-trampoline-loop", config, "5.10.218") is State.NOT_AFFECTED
    assert state("x86-hierarchy", config, "5.10.218") is State.AFFECTED


def test_without_vmlinux_btf_the_trampoline_loop_stays(tmp_path: Path) -> None:
    # Seen in guests: fentry on a BPF program needs that program's BTF, not that of vmlinux.
    config = write(
        tmp_path / "config",
        USUAL + "# CONFIG_DEBUG_INFO_BTF is not set\n# CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS is not set\n",
        "5.10.218",
    )
    assert state("x86-trampoline-loop", config, "5.10.218") is State.AFFECTED


def test_a_fragment_excludes_nothing_by_silence(tmp_path: Path) -> None:
    config = write(tmp_path / "defconfig", "CONFIG_NET=y\n", header=False)
    assert state("freplace-loop", config, arch="x86_64") is State.AFFECTED
    write(config, "# CONFIG_BPF_JIT is not set\n", header=False)
    assert state("freplace-loop", config, arch="x86_64") is State.NOT_AFFECTED


@pytest.mark.parametrize(("version", "arch"), [("6.6.30", "x86"), ("6.1.170", "arm64")])
def test_a_config_of_another_kernel_excludes_nothing_and_is_reported(tmp_path: Path, version: str, arch: str) -> None:
    config = write(tmp_path / "config", "CONFIG_NET=y\n", version, arch)
    report = audit(kernels=["6.1.170"], config=config, arch="x86_64", only=["freplace-loop"])
    assert report.targets[0].verdicts[0].state is State.AFFECTED
    assert any("excludes nothing" in note for note in report.targets[0].notes)


def test_a_config_alone_is_a_target(tmp_path: Path) -> None:
    config = write(tmp_path / "config", USUAL)
    report = audit(config=config).targets[0]
    assert (report.identity["upstream"], report.identity["architecture"]) == ("6.1.170", "x86_64")
    assert {item.defect.slug: item.state for item in report.verdicts}["freplace-loop"] is State.AFFECTED


def test_a_debian_config_names_the_release_that_the_abi_number_does_not(tmp_path: Path) -> None:
    config = write(tmp_path / "config-6.1.0-47-amd64", USUAL)
    report = audit(kernels=["6.1.0-47-amd64"], config=config, only=["freplace-loop", "freplace-tailcallee"]).targets[0]
    assert [item.state for item in report.verdicts] == [State.FIXED, State.AFFECTED]
    assert all(item.confidence.label != "high" for item in report.verdicts)


def test_a_config_that_nothing_ties_to_the_abi_number_does_not_name_its_release(tmp_path: Path) -> None:
    config = write(tmp_path / "config-6.1.0-56-amd64", USUAL, "6.1.192")
    report = audit(kernels=["6.1.0-99-amd64"], config=config, only=["freplace-loop"]).targets[0]
    assert report.verdicts[0].state is State.UNKNOWN
    assert any("nothing in it" in note for note in report.notes)


def test_an_ubuntu_config_is_tied_by_its_signature(tmp_path: Path) -> None:
    signature = 'CONFIG_VERSION_SIGNATURE="Ubuntu 5.15.0-79.86-generic 5.15.111"\n'
    config = write(tmp_path / "config", USUAL + signature, "5.15.111")
    assert state("x86-count-offset", config, "5.15.0-79-generic") is State.FIXED
    # Another build: the shipped survey of jammy has the fix in 5.15.0-48.54, and says nothing of linux-azure.
    assert state("x86-count-offset", config, "5.15.0-40-generic") is State.AFFECTED
    assert state("x86-count-offset", config, "5.15.0-1040-azure") is State.UNKNOWN


def test_an_architecture_that_was_asked_for_wins_and_the_difference_is_said() -> None:
    report = audit(kernels=["6.1.0-47-amd64"], arch="arm64", only=["4"]).targets[0]
    assert report.identity["architecture"] == "arm64"
    assert any("says x86_64; judged for arm64" in note for note in report.notes)


def test_the_riscv_stack_corruption_needs_kcfi(tmp_path: Path) -> None:
    options = "CONFIG_64BIT=y\nCONFIG_BPF_SYSCALL=y\nCONFIG_BPF_JIT=y\n"
    config = write(tmp_path / "config", options, "6.13", "riscv")
    assert state("riscv-kcfi-tailcall-stack", config, "6.13") is State.NOT_AFFECTED
    write(config, options + "CONFIG_CFI_CLANG=y\n", "6.13", "riscv")
    assert state("riscv-kcfi-tailcall-stack", config, "6.13") is State.AFFECTED


def test_the_interpreter_defect_is_excluded_where_the_jit_is_always_on(tmp_path: Path) -> None:
    config = write(tmp_path / "config", USUAL + "CONFIG_BPF_JIT_ALWAYS_ON=y\n", "5.10.20")
    assert state("interp-fallback-tailcall-subprog", config, "5.10.20") is State.NOT_AFFECTED
    write(config, USUAL, "5.10.20")
    assert state("interp-fallback-tailcall-subprog", config, "5.10.20") is State.AFFECTED


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, zstd.compress, bz2.compress])
def test_a_compressed_config_is_read(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "config"
    path.write_bytes(compress((HEADER.format("x86", "6.1.170") + USUAL + REST).encode()))
    config = read_config(path)
    assert (config.options["BPF_JIT"], config.complete) == ("y", True)


def test_a_config_that_is_cut_excludes_nothing(tmp_path: Path) -> None:
    # The first lines of a real one, cut in an option's name; the same cut behind a line; a handful of options.
    start = "CONFIG_64BIT=y\nCONFIG_X86_64=y\nCONFIG_NET=y\n"
    for text in (start + "CONFIG_BPF_SYSCA", start.rstrip("\n"), start, start + REST.split("# end")[0]):
        config = tmp_path / "config"
        config.write_text(HEADER.format("x86", "6.1.170") + text)
        assert state("x86-hierarchy", config, None) is State.AFFECTED
        assert not parse_config(config.read_text(), "c").complete


@pytest.mark.parametrize(
    "line",
    [
        "CONFIG_BPF_SYSCALL = y",
        "CONFIG_BPF_SYSCALL=Y",
        'CONFIG_X="open',
        "# CONFIG_BPF_SYSCALL is not",
        "#CONFIG_BPF_SYSCALL is not set",
        "# CONFIG_64BIT is not set",
        "BPF_SYSCALL=y",
    ],
)
def test_a_line_that_cannot_be_read_or_contradicts_another_excludes_nothing(tmp_path: Path, line: str) -> None:
    config = write(tmp_path / "config", USUAL.replace("CONFIG_BPF_SYSCALL=y", line))
    assert state("x86-hierarchy", config) is State.AFFECTED
    assert not read_config(config).sound


def test_ubuntus_signature_in_a_config_counts_as_it_does_in_a_name(tmp_path: Path) -> None:
    signature = "Ubuntu 6.8.0-90.91-generic 6.8.12"
    config = write(tmp_path / "config", USUAL + f'CONFIG_VERSION_SIGNATURE="{signature}"\n', "6.8.12")
    by_config = audit(config=config, pitfalls=True).targets[0]
    by_name = audit(kernels=[signature], arch="x86_64", pitfalls=True).targets[0]
    assert by_config.states == by_name.states
    assert State.AFFECTED not in by_config.states.values()
    assert by_config.identity["distro"] == "ubuntu"


@pytest.mark.parametrize(
    ("version", "more", "distro"),
    [
        ("5.14.21", "CONFIG_SUSE_KERNEL=y\n", "suse"),
        ("5.14.0", "CONFIG_RHEL_DIFFERENCES=y\n", "rhel"),
        ("5.10.134", 'CONFIG_LOCALVERSION="-19.1.al8.x86_64"\n', "alibaba"),
        ("5.10.0", 'CONFIG_LOCALVERSION="-60.oe2203.x86_64"\n', "openeuler"),
        ("5.14.0-427.13.1.el9_4.x86_64", "", "rhel"),
    ],
)
def test_a_vendors_config_is_not_vanilla(tmp_path: Path, version: str, more: str, distro: str) -> None:
    report = audit(
        config=write(tmp_path / "config", USUAL + more, version), only=["x86-hierarchy", "freplace-loop"]
    ).targets[0]
    assert report.identity["distro"] == distro
    assert set(report.states.values()) == {State.UNKNOWN}


def test_the_salt_of_a_debian_config_names_its_release(tmp_path: Path) -> None:
    config = write(tmp_path / "config", USUAL + 'CONFIG_BUILD_SALT="5.10.0-30-cloud-amd64"\n', "5.10.218")
    found = read_config(config).release
    assert found is not None
    assert (found.distro, str(found.version), found.proof.value) == ("debian", "5.10.218", "exact")
    other = write(tmp_path / "other", USUAL + 'CONFIG_BUILD_SALT="6.1.0-47-amd64"\n', "5.10.218")
    assert set(audit(config=other, pitfalls=True).targets[0].states.values()) == {State.UNKNOWN}


@pytest.mark.parametrize("option", ["S390", "ARM64", "UML"])
def test_another_architectures_config_excludes_nothing_here(tmp_path: Path, option: str) -> None:
    config = write(tmp_path / "defconfig", f"CONFIG_{option}=y\n# CONFIG_BPF_SYSCALL is not set\n", header=False)
    if option != "UML":
        assert state("x86-hierarchy", config, arch="x86_64") is State.AFFECTED
    um = write(tmp_path / "um", f"CONFIG_{option}=y\n# CONFIG_BPF_SYSCALL is not set\n", arch="um")
    assert state("x86-hierarchy", um, arch="x86_64") is State.AFFECTED


def test_attach_func_proto_needs_a_program_type_that_has_one(tmp_path: Path) -> None:
    # As in Firecracker's guest configurations: without the JIT and without BPF_EVENTS.
    off = USUAL.replace("CONFIG_BPF_JIT=y", "# CONFIG_BPF_JIT is not set").replace("CONFIG_BPF_EVENTS=y\n", "")
    slug = "tailcall-compat-attach-func-proto"
    assert state(slug, write(tmp_path / "config", off, "5.10.252"), None) is State.NOT_AFFECTED
    events = off + "CONFIG_BPF_EVENTS=y\n"
    assert state(slug, write(tmp_path / "config", events, "5.10.252"), None) is State.AFFECTED


@settings(deadline=None)
@given(st.integers(0, 12_000))
def test_a_cut_configuration_never_excludes(length: int) -> None:
    whole = HEADER.format("x86", "6.1.170") + USUAL.replace("BPF_SYSCALL=y\n", "NFS=m\n") + REST
    assert parse_config(whole, "x").value("BPF_SYSCALL").excluded
    if length >= len(whole):
        return
    try:
        config = parse_config(whole[:length], "x")
    except ConfigError:
        return  # no option in it
    assert not config.value("BPF_SYSCALL").excluded
    assert not config.complete


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello\n", "no CONFIG_ line"),
        (b"", "no CONFIG_ line"),
        (b"\x1f\x8b\x08\x00broken", "broken gzip"),
        (gzip.compress(b"CONFIG_A=y\n" * 3)[:-6], "broken gzip"),
        (lzma.compress(b"CONFIG_A=y\n" * 3)[:-6], "broken xz"),
        (gzip.compress(b"\0" * (64 << 20)), "more than"),
        (b"\xff" * 100, "no CONFIG_ line"),
    ],
    ids=["text", "empty", "broken-gzip", "cut-gzip", "cut-xz", "bomb", "binary"],
)
def test_what_is_no_config_is_an_error(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "config"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_config(path)


def test_a_missing_file_and_a_directory_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_config(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="not a regular file"):
        read_config(tmp_path)


def test_a_line_that_is_no_option_is_noted_with_its_number(tmp_path: Path) -> None:
    config = parse_config("CONFIG_A=y\nthis is wrong\n", "x")
    assert any("x:2:" in note for note in config.notes)


@given(st.text(max_size=300))
def test_garbage_is_a_config_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert all(name in text for name in parse_config(text, "x").options)


@given(
    st.dictionaries(
        st.from_regex(r"[A-Z][A-Z0-9_]{0,12}", fullmatch=True),
        st.sampled_from(["y", "m", "n"]),
        min_size=1,
        max_size=30,
    )
)
def test_no_option_is_lost(options: dict[str, str]) -> None:
    text = "".join(
        f"# CONFIG_{name} is not set\n" if value == "n" else f"CONFIG_{name}={value}\n"
        for name, value in options.items()
    )
    assert dict(parse_config(text, "x").options) == options
