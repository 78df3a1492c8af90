"""Sources that try to look fixed: preprocessor tricks, dead code, second definitions, macros.

The header of Debian's linux-source-6.1 has the fixed resolve_prog_type(); ODD is an unfixed body in words that no
signature has, OLD the body before the fix. FIXED must come out only where the compiler sees the fixed one alone.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.model import Presence
from tailcall_audit.analyzer.readers.source import SourceReader, signature_files
from tests.kernels import kernel_source
from tests.memory import MemoryReader
from tests.strategies.wrappers import CONDITIONS, WRAPPERS, wrapped

CATALOG = load_catalog()
HEADER, VERIFIER = "include/linux/bpf_verifier.h", "kernel/bpf/verifier.c"
HEAD = "static inline enum bpf_prog_type resolve_prog_type(const struct bpf_prog *prog)\n"
FIXED_EXPRESSION = """(prog->type == BPF_PROG_TYPE_EXT && prog->aux->saved_dst_prog_type) ?
\t\tprog->aux->saved_dst_prog_type : prog->type"""
FIX_BODY = f"\treturn {FIXED_EXPRESSION};\n"
OLD_BODY = "\treturn prog->type == BPF_PROG_TYPE_EXT ?\n\t\tprog->aux->dst_prog->type : prog->type;\n"
ODD_BODY = """\tenum bpf_prog_type t = prog->type;
\tif (t == BPF_PROG_TYPE_EXT)
\t\tt = prog->aux->dst_prog->type;
\treturn t;
"""


def function(body: str) -> str:
    return HEAD + "{\n" + body + "}\n"


FIX, OLD, ODD = function(FIX_BODY), function(OLD_BODY), function(ODD_BODY)
GUARDED = "#ifndef _LINUX_BPF_VERIFIER_H\n#define _LINUX_BPF_VERIFIER_H 1\n%s\n#endif /* _LINUX_BPF_VERIFIER_H */\n"
PRESENT, ABSENT, UNKNOWN = Presence.PRESENT, Presence.ABSENT, Presence.UNKNOWN


def presence(header: str, verifier: str = "int x;\n", commit: str = "f7866c358733") -> Presence:
    reader = MemoryReader({HEADER: header.encode(), VERIFIER: verifier.encode()})
    return SourceReader(reader).commit(CATALOG.commits[commit]).presence


@pytest.mark.parametrize(("text", "expected"), [(FIX, PRESENT), (OLD, ABSENT), (ODD, UNKNOWN)])
def test_each_body_alone_is_read_for_what_it_is(text: str, expected: Presence) -> None:
    assert presence(text) is expected
    assert presence(GUARDED % text) is expected
    assert presence((GUARDED % text).replace("\n", "\r\n")) is expected


TRICKS = {
    "a: the fix under an option that is never set": f"#ifdef CONFIG_NEVER\n{FIX}#else\n{ODD}#endif\n",
    "b: #elif behind #if 0": f"#if 0\n#elif defined(CONFIG_NEVER)\n{FIX}#else\n{OLD}#endif\n",
    "c: directives in comments": f"/*\n#if 0\n*/\n{OLD}/*\n#endif\n*/\n#ifdef NEVER\n{FIX}#endif\n",
    "d: #if (0)": f"#if (0)\n{FIX}#endif\n{ODD}",
    "d: #if 0L": f"#if 0L\n{FIX}#endif\n{ODD}",
    "d: #if 0 && x": f"#if 0 && defined(X)\n{FIX}#endif\n{ODD}",
    "d: #if !1": f"#if !1\n{FIX}#endif\n{ODD}",
    "e: a test under an option in the body": function(
        ODD_BODY.replace("\treturn t;\n", f"#ifdef CONFIG_NEVER\n{FIX_BODY}#endif\n\treturn t;\n")
    ),
    "f: a spliced comment": function(
        ODD_BODY.replace(
            "\treturn t;",
            "\t// was: \\\n\tif (prog->type == BPF_PROG_TYPE_EXT && prog->aux->saved_dst_prog_type) return 1;\n\treturn t;",
        )
    ),
    "g: behind a return": function(ODD_BODY + FIX_BODY),
    "i: a macro of its name": FIX + "#define resolve_prog_type(p) ((p)->aux->dst_prog->type)\n",
    "a macro before it": "#define saved_dst_prog_type dst_prog->type\n" + FIX,
    "a macro of a keyword": "#define return if (0) return\n" + FIX,
    "two bodies": FIX + ODD,
    "the fix in another style": ODD + FIX.replace("\n", " "),
    "the other in another style": FIX
    + "static enum bpf_prog_type\n  resolve_prog_type (p)\n  const struct bpf_prog *p;\n{ return 0; }\n",
    "an include in the body": function("#include <generated/resolve.h>\n" + FIX_BODY),
    "a string": f'static const char *was = "{FIX_BODY.strip()}";\n'.replace("\n\t\t", "") + ODD,
    "a raw string": f'static const char *was = R"(\n{FIX})";\n' + ODD,
    "digraphs": FIX + "%:define resolve_prog_type(p) 0\n",
    "a pragma": "#pragma redefine_extname resolve_prog_type resolve_prog_type_old\n" + FIX,
    "a conditional cut off": f"#ifdef CONFIG_X\n{FIX}",
    "a body that ends in a conditional": f"{HEAD}{{\n#ifdef CONFIG_NEVER\n{FIX_BODY}}}\n#endif\n{ODD_BODY}}}\n",
    "a body that begins in a conditional": f"#ifdef CONFIG_NEVER\n{HEAD}{{\n{FIX_BODY}#else\n{HEAD}{{\n#endif\n{ODD_BODY}}}\n",
    "a body in each branch": f"{HEAD}#ifdef CONFIG_NEVER\n{{\n{FIX_BODY}}}\n#else\n{{\n{ODD_BODY}}}\n#endif\n",
    "an early return under an option": function("#ifndef CONFIG_NEVER\n" + ODD_BODY + "#endif\n" + FIX_BODY),
}


@pytest.mark.parametrize("trick", TRICKS)
def test_a_trick_does_not_look_fixed(trick: str) -> None:
    assert presence(TRICKS[trick]) is not PRESENT
    assert presence(GUARDED % TRICKS[trick]) is not PRESENT


def test_h_a_definition_in_another_file_must_agree() -> None:
    assert presence(f"#ifdef CONFIG_NEVER\n{FIX}#endif\n", OLD) is not PRESENT
    assert presence(FIX, OLD) is UNKNOWN
    assert presence(FIX, FIX) is PRESENT


def test_what_decides_under_a_known_condition_is_still_read() -> None:
    assert presence(f"#if 1\n{FIX}#else\n{OLD}#endif\n") is PRESENT
    assert presence(f"#if 0\n{FIX}#elif 1\n{OLD}#endif\n") is ABSENT
    assert presence(f"#if 1 || defined(CONFIG_X)\n{FIX}#endif\n") is PRESENT
    assert presence(f"#ifdef CONFIG_X\n{FIX}#else\n{FIX}#endif\n") is PRESENT
    assert presence(f"#ifdef CONFIG_X\n{OLD}#else\n{OLD}#endif\n") is ABSENT
    assert presence(f"#ifdef CONFIG_X\nint other(void);\n#endif\n{FIX}") is PRESENT


@settings(max_examples=400, deadline=None)
@given(st.lists(WRAPPERS, min_size=1, max_size=3), st.sampled_from([OLD, ODD]), st.booleans(), st.sampled_from([1, 2]))
def test_a_wrapped_fix_beside_a_live_unfixed_body_is_never_fixed(
    wrappers: list[tuple[str, str]], live: str, first: bool, copies: int
) -> None:
    text = FIX * copies
    for wrapper in wrappers:
        text = wrapped(text, wrapper)
    assert presence(text + live if first else live + text) is not PRESENT


BODY_WRAPPERS = st.one_of(
    CONDITIONS.map(lambda text: (f"#if {text}\n", "#endif\n")),
    st.sampled_from(
        [
            ("\tif (0) {\n", "\t}\n"),
            ("\tif (0 && prog) {\n", "\t}\n"),
            ("\twhile (0) {\n", "\t}\n"),
            ("\tfor (; 0;) {\n", "\t}\n"),
            ("\treturn t;\n", ""),
            ("\tgoto out;\n", "out:\n"),
            ("\tif (1)\n\t\treturn t;\n", ""),
            ("\t{\n\t\treturn t;\n\t}\n", ""),
            ("\tif (t)\n\t\treturn t;\n\telse\n\t\treturn 0;\n", ""),
            ("/*\n", "*/\n"),
            ("\t// \\\n", ""),
        ]
    ),
)


@settings(max_examples=300, deadline=None)
@given(BODY_WRAPPERS)
def test_a_fix_that_no_run_reaches_is_never_fixed(wrapper: tuple[str, str]) -> None:
    before, after = wrapper
    body = FIX_BODY.replace("\n\t\t", " ")
    assert presence(function(ODD_BODY.replace("\treturn t;\n", f"{before}{body}{after}\treturn t;\n"))) is not PRESENT


def test_the_same_holds_for_a_part_that_is_searched_for_in_a_long_function() -> None:
    """d6083f040d5d asks for two names in prog_fd_array_get_ptr(); the real function with them in dead code is not
    fixed.
    """
    unfixed, _ = kernel_source("6.1", "6.1.170-3")
    fixed, _ = kernel_source("6.1", "6.1.192-2")
    commit = CATALOG.commits["d6083f040d5d"]
    files = {path: (fixed / path).read_bytes() for path in signature_files(CATALOG) if (fixed / path).is_file()}
    assert SourceReader(MemoryReader(files)).commit(commit).presence is PRESENT
    old = (unfixed / "kernel/bpf/arraymap.c").read_text()
    for before, after in (
        ("if (0) {", "}"),
        ("#ifdef CONFIG_NEVER\n", "\n#endif\n"),
        ("goto out;", "out:"),
        ("#if 0L\n", "\n#endif\n"),
    ):
        dead = f"{before} if (prog->aux->is_extended) prog->aux->prog_array_member_cnt++; {after}"
        text, count = re.subn(
            r"(prog_fd_array_get_ptr\(.*?\n\{\n.*?)(\treturn prog;)", rf"\1{dead}\2", old, count=1, flags=re.DOTALL
        )
        assert count == 1
        files["kernel/bpf/arraymap.c"] = text.encode()
        assert SourceReader(MemoryReader(files)).commit(commit).presence is not PRESENT, before
