"""The C reader: scopes and tokens."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tailcall_audit.analyzer.kernelfiles.csource import CSource
from tailcall_audit.analyzer.kernelfiles.ctokens import tokenize


def names(source: CSource, name: str) -> list[int]:
    return [scope.line for scope in source.functions(name)]


def test_definitions_are_distinguished_from_declarations_and_calls() -> None:
    source = CSource(
        b"int f(int a);\n\nstatic int\nf(int a)\n{\n\treturn g(a);\n}\n\nint g(int a)\n{\n\treturn f(a);\n}\n"
    )
    assert names(source, "f") == [4]
    assert names(source, "g") == [9]
    assert source.functions("h") == []


def test_a_definition_behind_a_macro_without_a_semicolon_is_found() -> None:
    source = CSource(
        b"BTF_SET_START(x)\nBTF_ID(func, y)\nBTF_SET_END(x)\n\nstatic int check(struct env *env)\n{\n\treturn 0;\n}\n"
    )
    assert names(source, "check") == [5]


def test_a_definition_in_another_style_is_found() -> None:
    assert len(CSource(b"  static int f(int a) { return a; }\n").functions("f")) == 1


def test_both_definitions_under_ifdef_are_found_and_dead_code_is_not() -> None:
    text = b"#ifdef A\nint f(void)\n{\n\treturn 1;\n}\n#else\nint f(void)\n{\n\treturn 2;\n}\n#endif\n#if 0\nint f(void)\n{\n\treturn 3;\n}\n#endif\n"
    assert [scope.streams[0][-3] for scope in CSource(text).functions("f")] == [b"1", b"2"]


def test_the_other_half_of_if_1_is_dead() -> None:
    text = b"#if 1\nint f(void)\n{\n\treturn 1;\n}\n#else\nint f(void)\n{\n\treturn 2;\n}\n#endif\n"
    assert names(CSource(text), "f") == [2]


def test_structs_are_found_by_their_body() -> None:
    source = CSource(b"struct a;\nstruct a {\n\tint x;\n} __aligned(8);\nextern struct a y;\n")
    assert [scope.line for scope in source.structs("a")] == [2]


def test_callees_of_the_same_file_are_followed_and_others_not() -> None:
    source = CSource(
        b"static int a(void)\n{\n\treturn deep();\n}\n\nstatic int b(void)\n{\n\treturn a() + external();\n}\n"
    )
    assert {scope.name for scope in source.with_callees(source.functions("b")[0])} == {"a", "b"}


def test_macros_of_the_file_are_expanded() -> None:
    source = CSource(b"#define ROUND(x) round_up(x, 8)\n#define OFF(x) \\\n\t(-ROUND(x))\n")
    bodies = source.macro_bodies({b"OFF"})
    assert set(bodies) == {"OFF", "ROUND"}
    assert b"round_up" in bodies["ROUND"][0]


def test_comments_and_white_space_are_no_tokens() -> None:
    assert tokenize(b'a /* b */ -> // c\n d"/* e */"') == [b"a", b"->", b"d", b'"/* e */"']


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400))
def test_garbage_never_raises(data: bytes) -> None:
    source = CSource(data)
    source.functions("f")
    source.structs("s")
    assert source.whole().tokens is not None


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [b"int f(void)\n{\n", b"}\n", b"#if 0\n", b"#else\n", b"#endif\n", b"/*", b"*/", b'"', b"f(", b"{", b"\n"]
        ),
        max_size=40,
    )
)
def test_broken_c_never_raises(pieces: list[bytes]) -> None:
    source = CSource(b"".join(pieces))
    for scope in source.functions("f"):
        assert source.with_callees(scope)


def test_a_name_that_occurs_without_end_is_odd_and_not_searched_for_ever() -> None:
    scopes = CSource(b"f(" * 50_000).functions("f")
    assert scopes
    assert scopes[-1].oddity


def test_lines_are_joined_before_comments_and_strings_are_read() -> None:
    source = CSource(b"int f(void)\n{\n\t// was: \\\n\treturn 1;\n\treturn 2;\n}\nint g(void)\n{\n\treturn 3;\n}\n")
    assert b"1" not in source.functions("f")[0].tokens
    assert names(source, "g") == [7]


def test_a_number_sign_is_a_directive_at_the_start_of_a_line_only() -> None:
    text = (
        b"int f(void)\n{\n\tprintk(a # b, c); x %:if y\n \t# if 0\n\treturn 1;\n%:else\n\treturn 2;\n /* */ #endif\n}\n"
    )
    assert CSource(text).functions("f")[0].streams[0][-4:] == (b"return", b"2", b";", b"}")
