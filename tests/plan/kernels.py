"""Repositories with the real code of both sides of each fix: Debian's sources, and the same with the fixes taken out
one after the other.

The older side of fix 6 is the function that Debian's 6.1.170 has, that of fix 4 is the JIT of 6.1.192; the others are
edits anchored in the source. No patch text of the kernel's is here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tailcall_audit.analyzer.catalog.load import load_catalog
from tests.kernels import kernel_source
from tests.repositories import History, makefile

__all__ = ["CATALOG", "FIXES", "IN_ORDER", "Files", "Fix", "Upstream", "backported", "changes", "files_of", "message", "stages", "with_version"]  # fmt: skip

CATALOG = load_catalog()
VERSIONS = {"5.10": "5.10.262-1", "6.1": "6.1.192-2", "6.12": "6.12.117-1"}
WITHOUT_6 = "6.1.170-3"
Files = dict[str, bytes]
ARRAYMAP, TRAMPOLINE, VERIFIER, JIT, HEADER, BPF_H = (
    "kernel/bpf/arraymap.c",
    "kernel/bpf/trampoline.c",
    "kernel/bpf/verifier.c",
    "arch/x86/net/bpf_jit_comp.c",
    "include/linux/bpf_verifier.h",
    "include/linux/bpf.h",
)


def files_of(series: str, version: str | None = None) -> Files:
    """The files of a Debian source that a signature reads, with the Makefile."""
    source, _ = kernel_source(series, version or VERSIONS[series])
    return {
        str(path.relative_to(source)): path.read_bytes()
        for path in sorted(source.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def replaced(files: Files, path: str, old: str, new: str, count: int | None = None) -> None:
    """Replaces a text in a file, everywhere; fails where it is not there."""
    text = files[path].decode()
    assert old in text, f"{path} no longer has {old!r}"
    assert count is None or text.count(old) == count
    files[path] = text.replace(old, new).encode()


def _function(text: str, name: str) -> str:
    pattern = rf"^(?:[\w]+[ \t*]+)+{name}\([^;{{]*\)\n\{{.*?^\}}\n"
    (found,) = re.findall(pattern, text, re.MULTILINE | re.DOTALL)
    return str(found)


def transplanted(files: Files, path: str, names: list[str], other: Files) -> None:
    """Puts another source's functions in the place of those of the same names."""
    for name in names:
        old, new = _function(files[path].decode(), name), _function(other[path].decode(), name)
        replaced(files, path, old, new, 1)


def _without_2(files: Files) -> None:
    replaced(
        files,
        JIT,
        "RESTORE_TAIL_CALL_CNT(bpf_prog->aux->stack_depth);",
        "EMIT3_off32(0x48, 0x8B, 0x85,\n\t\t\t\t\t    -(bpf_prog->aux->stack_depth + 8));",
    )


def _without_3(files: Files) -> None:
    replaced(
        files,
        VERIFIER,
        "\tif (tgt_prog && tgt_prog->aux->tail_call_reachable)\n\t\ttr->flags = BPF_TRAMP_F_TAIL_CALL_CTX;\n\n",
        "",
    )
    replaced(
        files, TRAMPOLINE, "(BPF_TRAMP_F_SHARE_IPMODIFY | BPF_TRAMP_F_TAIL_CALL_CTX)", "BPF_TRAMP_F_SHARE_IPMODIFY"
    )
    text = files[JIT].decode()
    text = re.sub(r"\tif \(flags & BPF_TRAMP_F_TAIL_CALL_CTX\)\n\t\tEMIT1\(0x50\);[^\n]*\n\n?", "", text)
    text = re.sub(r"flags & BPF_TRAMP_F_TAIL_CALL_CTX", "false", text)
    files[JIT] = text.encode()


def _without_5a(files: Files) -> None:
    old = "(prog->type == BPF_PROG_TYPE_EXT && prog->aux->dst_prog) ?"
    replaced(files, HEADER, f"return {old}", "return prog->type == BPF_PROG_TYPE_EXT ?", 1)


def _without_5b(files: Files) -> None:
    replaced(
        files,
        HEADER,
        "BPF_PROG_TYPE_EXT && prog->aux->saved_dst_prog_type",
        "BPF_PROG_TYPE_EXT && prog->aux->dst_prog",
        1,
    )
    replaced(files, HEADER, "prog->aux->saved_dst_prog_type", "prog->aux->dst_prog->type", 1)


def _without_6(files: Files) -> None:
    older = files_of("6.1", WITHOUT_6)
    transplanted(files, ARRAYMAP, ["prog_fd_array_get_ptr", "prog_fd_array_put_ptr"], older)
    replaced(files, TRAMPOLINE, _function(files[TRAMPOLINE].decode(), "bpf_freplace_check_tgt_prog") + "\n", "", 1)
    names = ["bpf_trampoline_link_prog", "bpf_trampoline_unlink_prog"]
    transplanted(files, TRAMPOLINE, [*(f"__{name}" for name in names), *names], older)
    replaced(files, TRAMPOLINE, "shim_link->trampoline, NULL)", "shim_link->trampoline)", 1)
    replaced(files, TRAMPOLINE, "&shim_link->link, tr, NULL)", "&shim_link->link, tr)", 1)


def _without_flags(files: Files) -> None:
    replaced(
        files,
        VERIFIER,
        "bpf_trampoline_set_flags(tr, BPF_TRAMP_F_TAIL_CALL_CTX)",
        "tr->flags = BPF_TRAMP_F_TAIL_CALL_CTX",
        1,
    )
    replaced(files, TRAMPOLINE, _function(files[TRAMPOLINE].decode(), "bpf_trampoline_set_flags") + "\n", "", 1)
    replaced(files, BPF_H, "void bpf_trampoline_set_flags(struct bpf_trampoline *tr, u32 flags);\n\n", "", 1)


def _without_4(files: Files) -> None:
    files[JIT] = files_of("6.1")[JIT]


class Fix(NamedTuple):
    """A fix that can be taken out of a source: its commit in the catalogue, the defects that it mends, and what undoes
    it.
    """

    key: str
    slugs: tuple[str, ...]
    undo: Callable[[Files], None]

    @property
    def subject(self) -> str:
        """The subject of the upstream commit."""
        return CATALOG.commits[self.key].subject


# By pitfall; 5a is the panic, 5b the refusal that remained, `flags` the defect that fix 3 brought.
FIXES = {
    "2": Fix("ff672c67ee76", ("x86-count-offset",), _without_2),
    "3": Fix("2b5dcb31a19a", ("x86-trampoline-loop",), _without_3),
    "5a": Fix("f7866c358733", ("freplace-attached-panic", "resolve-prog-type-null-deref-load"), _without_5a),
    "5b": Fix("fdad456cbcca", ("freplace-attached-refused",), _without_5b),
    "4": Fix("116e04ba1459", ("x86-hierarchy",), _without_4),
    "6": Fix("d6083f040d5d", ("freplace-loop",), _without_6),
    "flags": Fix("61aaa8782bec", ("trampoline-flags-clobber",), _without_flags),
}
IN_ORDER = ["2", "3", "5a", "5b", "6", "flags"]
"""Mainline's order of those that Debian's 6.1 has."""


def stages(files: Files, names: list[str]) -> list[Files]:
    """The files without all of these fixes, then with the first, the first two, and so on."""
    found = [files]
    for name in reversed(names):
        before = dict(found[0])
        FIXES[name].undo(before)
        found.insert(0, before)
    return found


def message(name: str) -> str:
    """The message of an upstream commit, with its true subject."""
    return f"{FIXES[name].subject}\n\nThe body of the commit.\n\nSigned-off-by: A Developer <dev@example.org>\n"


def backported(name: str, body: str = "") -> str:
    """The message of a stable branch's backport, which names mainline's commit."""
    fix = FIXES[name]
    return f"{fix.subject}\n\ncommit {CATALOG.commits[fix.key].id} upstream.\n\n{body}Signed-off-by: A Maintainer <m@example.org>\n"


def changes(before: Files, after: Files) -> dict[str, bytes | None]:
    """What a commit from one stage to the next changes."""
    return {path: after.get(path) for path in sorted({*before, *after}) if before.get(path) != after.get(path)}


def with_version(files: Files, version: str) -> Files:
    """The files with a Makefile of another version."""
    return {**files, "Makefile": makefile(version)}


class Upstream(History):
    """A repository whose branch brings fixes one after the other, as mainline or (with `write`) as a stable branch has
    them.
    """

    def __init__(
        self, path: Path, files: Files, names: list[str], version: str, write: Callable[[str], str] = message
    ) -> None:
        super().__init__(path, version)
        self.stages = [with_version(stage, version) for stage in stages(files, names)]
        self.root = self.commit(f"Linux {version}\n", dict(self.stages[0]))
        self.commits: dict[str, str] = {}
        for name, before, after in zip(names, self.stages, self.stages[1:], strict=False):
            self.commits[name] = self.commit(write(name), changes(before, after))
