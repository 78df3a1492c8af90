"""Text around C code that may hide it from the compiler: conditionals, comments, strings, macros, other functions."""

from __future__ import annotations

import json

from hypothesis import strategies as st

__all__ = ["CONDITIONS", "WRAPPERS", "wrapped"]

CONDITIONS = st.sampled_from(
    (
        "0",
        "(0)",
        "0L",
        "0x0",
        "!1",
        "0 && X",
        "X && 0",
        "defined(CONFIG_NEVER)",
        "CONFIG_A > 3",
        "1",
        "1 || X",
        "!0",
        "A(1)",
        "__GNUC__",
    )
)
"""Conditions of #if: false, true, and such that nothing decides."""

WRAPPERS = st.one_of(
    CONDITIONS.map(lambda text: (f"#if {text}\n", "#endif\n")),
    CONDITIONS.map(lambda text: (f"#if {text}\n", "#else\nint other(void);\n#endif\n")),
    CONDITIONS.map(lambda text: (f"#if {text}\nint other;\n#else\n", "#endif\n")),
    CONDITIONS.map(lambda text: (f"#if 0\n#elif {text}\n", "#endif\n")),
    CONDITIONS.map(lambda text: (f"#if 0\n#elif {text}\n", "#else\nint other;\n#endif\n")),
    st.sampled_from(
        (
            ("#ifdef CONFIG_NEVER\n", "#endif\n"),
            ("#ifndef CONFIG_ALWAYS\n", "#endif\n"),
            ("/*\n", "*/\n"),
            ("#define WAS ", "\n"),
            ("static const char *was = ", ";\n"),
            ("static void unused(void)\n{\n", "}\n"),
            ("", ""),
        )
    ),
)
"""What is put before and behind a definition."""


def wrapped(text: str, wrapper: tuple[str, str]) -> str:
    """Returns a definition in a wrapper, so that what comes behind it is code again."""
    before, after = wrapper
    if before.startswith("/*"):
        text = text.replace("*/", "")
    elif before.startswith("#define"):
        text = text.rstrip("\n").replace("\n", " \\\n")
    elif "was =" in before:
        text = json.dumps(text)
    return before + text + after
