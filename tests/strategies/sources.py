"""C sources of the places where fixes are, with preprocessor tricks around them, and patch queues beside a tree."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.repositories import makefile
from tests.strategies.case import Case
from tests.strategies.changelogs import SUBJECTS
from tests.strategies.mutate import mutated

__all__ = ["C_TEXTS", "patch_cases", "source_cases"]

HEADER, VERIFIER, ARRAYMAP = "include/linux/bpf_verifier.h", "kernel/bpf/verifier.c", "kernel/bpf/arraymap.c"
_HEAD = "static inline enum bpf_prog_type resolve_prog_type(const struct bpf_prog *prog)\n"
_FIXED = "\treturn (prog->type == BPF_PROG_TYPE_EXT && prog->aux->saved_dst_prog_type) ?\n\t\tprog->aux->saved_dst_prog_type : prog->type;\n"
_OLD = "\treturn prog->type == BPF_PROG_TYPE_EXT ?\n\t\tprog->aux->dst_prog->type : prog->type;\n"
_ODD = "\tenum bpf_prog_type t = prog->type;\n\tif (t == BPF_PROG_TYPE_EXT)\n\t\tt = prog->aux->dst_prog->type;\n\treturn t;\n"
_BODIES = st.sampled_from((_FIXED, _OLD, _ODD, "", "\tgoto out;\nout:\n", "#include <x.h>\n"))
_CONDITIONS = st.sampled_from(
    (
        "0",
        "1",
        "(0)",
        "0L",
        "!1",
        "0 && X",
        "X || 1",
        "defined(CONFIG_X)",
        "CONFIG_A > 3",
        "A(1)",
        "1 / 0",
        "(" * 80 + "1",
    )
)
_TOKENS = (
    b"#if 0\n",
    b"#endif\n",
    b"#else\n",
    b"#elif 1\n",
    b"#define resolve_prog_type(p) 0\n",
    b"#undef X\n",
    b"/*",
    b"*/",
    b"//",
    b"\\\n",
    b"{",
    b"}",
    b'"',
    b"'",
    b'R"(',
    b"??=",
    b"%:",
    b"resolve_prog_type(",
    b"struct bpf_prog_aux {",
    b"return ",
    b"#" * 50,
)


@st.composite
def _function(draw: st.DrawFn) -> str:
    text = _HEAD + "{\n" + draw(_BODIES) + "}\n"
    for _ in range(draw(st.integers(0, 2))):
        before, after = draw(
            st.one_of(
                _CONDITIONS.map(lambda words: (f"#if {words}\n", "#endif\n")),
                _CONDITIONS.map(lambda words: (f"#if 0\n#elif {words}\n", "#else\nint x;\n#endif\n")),
                st.sampled_from(
                    (("/*\n", "*/\n"), ("#define WAS ", "\n"), ("static void f(void)\n{\n", "}\n"), ("\\\n", ""))
                ),
            )
        )
        text = before + text + after
    return text


C_TEXTS = st.lists(
    st.one_of(_function(), st.just("struct bpf_prog_aux {\n\tbool is_extended;\n\tu64 prog_array_member_cnt;\n};\n")),
    max_size=4,
).map(lambda parts: "".join(parts).encode())


@st.composite
def source_cases(draw: st.DrawFn) -> Case:
    """The files that signatures look into, of which some are missing."""
    case: dict[str, bytes] = {"Makefile": makefile("6.1.170")}
    for path in draw(st.sets(st.sampled_from((HEADER, VERIFIER, ARRAYMAP, "include/linux/bpf.h")), min_size=1)):
        case[path] = draw(mutated(C_TEXTS, _TOKENS))
    return case


_PATCHES = st.builds(
    "From: A B <a@example.org>\nSubject: [PATCH] {}\n{}\n\nText.\n---\n x | 1 +\n--- a/x\n+++ b/x\n@@ -1 +1,2 @@\n+x\n".format,
    SUBJECTS,
    st.sampled_from(
        (
            "Git-commit: d6083f040d5d8f8d748462c77e90547097df936e",
            "commit 2b5dcb31a19a2e0acd869b12c9db9b2d696ef544 upstream.",
            "Origin: https://git.kernel.org/linus/d6083f040d5d8f8d748462c77e90547097df936e",
            "This reverts commit d6083f040d5d8f8d748462c77e90547097df936e.",
            "",
        )
    ),
).map(str.encode)


@st.composite
def patch_cases(draw: st.DrawFn) -> Case:
    """A tree with a patch queue, of which some patches are applied."""
    names = draw(st.lists(st.sampled_from(("a.patch", "b.patch", "sub/c.patch", "../up", "/etc/passwd")), max_size=5))
    queue = draw(st.sampled_from(("debian/patches/", "patches/", "")))
    listing = "".join(f"{name}{draw(st.sampled_from(('', ' -p1', ' # x')))}\n" for name in names).encode()
    case: dict[str, bytes] = {"Makefile": makefile("6.1.170")}
    case["series.conf" if queue == "" else f"{queue}series"] = draw(mutated(st.just(listing), (b"+x86 ", b"#", b"../")))
    case[".pc/applied-patches"] = draw(mutated(st.just(listing)))
    for name in {name for name in names if not name.startswith(("/", ".."))}:
        case[f"{queue}{name}"] = draw(mutated(_PATCHES, (b"\nSubject:", b"Upstream commit ", b"\n---\n")))
    return case
