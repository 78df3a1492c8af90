"""C source as scopes of tokens: the body of a function, of a struct, of a macro.

tree-sitter finds the definitions; what is compared are tokens, so white space, comments and line breaks do not matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import tree_sitter
import tree_sitter_c

__all__ = ["CSource", "Scope", "tokenize"]

_TOKEN = re.compile(
    rb"/\*.*?(?:\*/|\Z)|//[^\n]*"
    rb'|"(?:\\.|[^"\\\n]){0,1024}+"|\'(?:\\.|[^\'\\\n]){1,8}+\''
    rb"|[A-Za-z_]\w*|\d[\w.]*"
    rb"|->|\+\+|--|<<=|>>=|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|\.\.\.|##|[^\s\w]",
    re.DOTALL,
)
_DIRECTIVE = re.compile(rb"^[ \t]*#[ \t]*(\w+)((?:\\\n|[^\n])*)", re.MULTILINE)
# BTF_ID(func, x), EXPORT_SYMBOL_GPL(x) or __bpf_kfunc_start_defs() on lines of their own, often without a semicolon, keep
# the parser from seeing the function behind them.
_STATEMENT_MACRO = re.compile(rb"^(?:[A-Z][A-Z0-9_]+|__bpf_\w+_defs)(?:\([^(){};\n]*\))?[ \t]*;?[ \t]*$", re.MULTILINE)
_FUNCTION = re.compile(rb"^(?:[A-Za-z_][\w \t*]*[ \t*])?(\w+)\([^;{}]{0,500}\)\s*\{", re.MULTILINE)
_STRUCT = re.compile(rb"^(struct[ \t]+\w+)\s*\{", re.MULTILINE)
_KEYWORDS = frozenset(
    b"if for while switch return sizeof do else case goto break continue typeof __typeof__ defined".split()
)
_PARSER_LANGUAGE = tree_sitter.Language(tree_sitter_c.language())
_CONTAINERS = frozenset(
    (
        "translation_unit",
        "preproc_if",
        "preproc_ifdef",
        "preproc_else",
        "preproc_elif",
        "linkage_specification",
        "declaration_list",
        "ERROR",
    )
)
_MAX_FOLLOW = 3
_MAX_CALLEES = 300


def tokenize(text: bytes) -> list[bytes]:
    """The tokens of C code, without comments; never raises."""
    return [token for token in _TOKEN.findall(text) if token[:2] not in (b"/*", b"//")]


def _blank(text: bytes) -> bytes:
    """As many lines and bytes of nothing, so that positions stay what they were."""
    return re.sub(rb"[^\n]", b" ", text)


def _without_dead_code(text: bytes) -> bytes:
    """Blank what ``#if 0`` (or the other half of ``#if 1``) switches off."""
    if re.search(rb"^[ \t]*#[ \t]*if[ \t]+[01]\b", text, re.MULTILINE) is None:
        return text
    out: list[bytes] = []
    stack: list[bool | None] = []  # False: dead branch, True: live branch of #if 0/1, None: any other condition
    position = 0
    for match in _DIRECTIVE.finditer(text):
        chunk = text[position : match.start()]
        out.append(_blank(chunk) if False in stack else chunk)
        word, condition = match.group(1), match.group(2).split(b"/*")[0].strip()
        if word in (b"if", b"ifdef", b"ifndef"):
            stack.append({b"0": False, b"1": True}.get(condition) if word == b"if" else None)
        elif word in (b"else", b"elif") and stack and stack[-1] is not None:
            stack[-1] = not stack[-1]
        elif word == b"endif" and stack:
            stack.pop()
        out.append(match.group())
        position = match.end()
    chunk = text[position:]
    out.append(_blank(chunk) if False in stack else chunk)
    return b"".join(out)


@dataclass(frozen=True)
class Scope:
    """A definition: its name, first line (1-based), and text."""

    name: str
    line: int
    text: bytes

    @cached_property
    def tokens(self) -> list[bytes]:
        """Its tokens; preprocessor lines within it are left out."""
        return tokenize(_DIRECTIVE.sub(lambda match: _blank(match.group()), self.text))

    @cached_property
    def calls(self) -> set[str]:
        """The names in it that are followed by a parenthesis, its own left out."""
        found = {
            token.decode("ascii", "replace")
            for token, following in zip(self.tokens, self.tokens[1:], strict=False)
            if following == b"(" and (token[:1].isalpha() or token[:1] == b"_") and token not in _KEYWORDS
        }
        return found - {self.name}


class CSource:
    """One C file. Parsing is done when a scope is first asked for; broken code gives fewer scopes, never an exception.

    A definition is looked up by the kernel's style, in which it starts and ends at the margin, and parsed on its own: that is
    ten times faster than the whole of verifier.c, and code that the parser cannot know elsewhere in the file (a macro without
    a semicolon) does not hide it. What is not found so is searched for in a parse of the whole file.
    """

    def __init__(self, data: bytes) -> None:
        self._text = _without_dead_code(data.replace(b"\r\n", b"\n"))
        self._functions: dict[str, list[Scope]] = {}

    @cached_property
    def whole(self) -> Scope:
        """The whole file as one scope."""
        return Scope("", 1, self._text)

    @cached_property
    def _written(self) -> dict[str, list[int]]:
        """Where the text looks like the start of a definition of a function or (``struct x``) of a struct."""
        starts: dict[str, list[int]] = {}
        for pattern in (_FUNCTION, _STRUCT):
            for match in pattern.finditer(self._text):
                starts.setdefault(b" ".join(match.group(1).split()).decode("ascii", "replace"), []).append(
                    match.start()
                )
        return starts

    def _cut_out(self, key: str, name: str) -> list[Scope]:
        """The definitions that the text shows, each parsed on its own."""
        found = []
        for start in self._written.get(key, ()):
            end = self._text.find(b"\n}", start)
            if end < 0:
                continue
            end = self._text.find(b"\n", end + 1)
            snippet = self._text[start : len(self._text) if end < 0 else end]
            # A return type on the line before is not part of the snippet.
            for prefix in (b"", b"int "):
                root = tree_sitter.Parser(_PARSER_LANGUAGE).parse(prefix + snippet).root_node
                if any(_defined_name(node) == key for node in _top_level(root)):
                    found.append(Scope(name, self._text.count(b"\n", 0, start) + 1, snippet))
                    break
        return found

    @cached_property
    def _parsed(self) -> dict[str, list[Scope]]:
        """All definitions, from a parse of the whole file."""
        found: dict[str, list[Scope]] = {}
        text = _STATEMENT_MACRO.sub(lambda match: _blank(match.group()), self._text)
        for node in _top_level(tree_sitter.Parser(_PARSER_LANGUAGE).parse(text).root_node):
            key = _defined_name(node)
            if key:
                found.setdefault(key, []).append(
                    Scope(key.removeprefix("struct "), node.start_point[0] + 1, text[node.start_byte : node.end_byte])
                )
        return found

    @cached_property
    def _macros(self) -> dict[str, Scope]:
        macros = {}
        for match in _DIRECTIVE.finditer(self._text):
            if match.group(1) != b"define":
                continue
            head = re.match(rb"\s*(\w+)(\([^)]*\))?", match.group(2))
            if head is not None:
                name = head.group(1).decode("ascii", "replace")
                body = match.group(2)[head.end() :].replace(b"\\\n", b"  ")
                macros[name] = Scope(name, 0, body)
        return macros

    def functions(self, name: str) -> list[Scope]:
        """The definitions of a function: one, or several under different preprocessor conditions."""
        if name not in self._functions:
            self._functions[name] = self._cut_out(name, name) or self._parsed.get(name, [])
        return self._functions[name]

    def structs(self, name: str) -> list[Scope]:
        """The definitions of a struct."""
        return self._cut_out(f"struct {name}", name) or self._parsed.get(f"struct {name}", [])

    def with_callees(self, scope: Scope) -> list[Scope]:
        """A scope and the functions of the same file that it calls, up to three calls deep."""
        found = {scope.name: scope}
        edge = [scope]
        for _ in range(_MAX_FOLLOW):
            names = sorted(
                {name for item in edge for name in item.calls if name not in found and name in self._written}
            )[:_MAX_CALLEES]
            edge = [callee for name in names for callee in self.functions(name)]
            found.update((callee.name, callee) for callee in edge)
        return list(found.values())

    def macro_tokens(self, tokens: list[bytes]) -> list[bytes]:
        """The tokens of the file's own macros that are used among `tokens`, and of those that they use."""
        seen: set[str] = set()
        out: list[bytes] = []
        edge = tokens
        for _ in range(_MAX_FOLLOW):
            names = {token.decode("ascii", "replace") for token in edge} & self._macros.keys() - seen
            seen |= names
            edge = [token for name in sorted(names) for token in (*self._macros[name].tokens, b";")]
            out += edge
        return out


def _top_level(root: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    stack = [root]
    while stack:
        node = stack.pop()
        for child in reversed(node.children):
            if child.type in _CONTAINERS:
                stack.append(child)
            elif child.type in ("function_definition", "struct_specifier", "declaration", "type_definition"):
                yield child


def _defined_name(node: tree_sitter.Node) -> str | None:
    """The name of the function that a node defines, or ``struct x``; None where it defines neither."""
    if node.type == "function_definition":
        return _function_name(node)
    found = node if node.type == "struct_specifier" else node.child_by_field_name("type")
    if found is None or found.type != "struct_specifier" or found.child_by_field_name("body") is None:
        return None
    label = found.child_by_field_name("name")
    return None if label is None or label.text is None else "struct " + label.text.decode("ascii", "replace")


def _function_name(node: tree_sitter.Node) -> str | None:
    current = node.child_by_field_name("declarator")
    for _ in range(8):
        if current is None:
            return None
        if current.type == "identifier":
            return None if current.text is None else current.text.decode("ascii", "replace")
        inner = current.child_by_field_name("declarator")
        if inner is None:
            inner = next(
                (
                    child
                    for child in current.children
                    if child.type.endswith("declarator") or child.type == "identifier"
                ),
                None,
            )
        current = inner
    return None
