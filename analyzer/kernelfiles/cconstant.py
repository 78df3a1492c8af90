"""Three-valued evaluation of C's constant expressions: true, false, or not known.

Used for the conditions of ``#if`` lines and of ``if`` statements. tree-sitter parses the expression; names have no
value, so an expression with a name is not known, unless a known operand decides alone: ``0 && x`` is false, ``1 || x``
is true.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

import tree_sitter
import tree_sitter_c

__all__ = ["Named", "condition_value", "expression_value", "parse_c"]

Named = Callable[[str], bool | None]
"""Returns True if a macro of this name is defined; None if that is not known."""

_LANGUAGE = tree_sitter.Language(tree_sitter_c.language())
_MAX_LENGTH = 4000
_MAX_DEPTH = 40
_INTEGER = re.compile(rb"(0[xX][0-9a-fA-F]+|0[bB][01]+|\d+)[uUlL]{0,3}")
_WORDS = {b"true": 1, b"false": 0, b"NULL": 0}
_ASKS = frozenset((b"IS_ENABLED", b"IS_BUILTIN", b"IS_REACHABLE"))
_PLAIN = frozenset(
    ("parenthesized_expression", "comma_expression", "expression_statement", "condition_clause", "compound_literal")
)
_MAX_BITS = 63


def parse_c(text: bytes) -> tree_sitter.Node:
    """Parses C code; broken code gives error nodes, never an exception."""
    return tree_sitter.Parser(_LANGUAGE).parse(text).root_node


def _integer(text: bytes) -> int | None:
    match = _INTEGER.fullmatch(text)
    if match is None:
        return None
    digits = match.group(1)
    if len(digits) > 1 and digits[:1] == b"0" and digits[1:].isdigit():
        return int(digits, 8) if not set(digits) - set(b"01234567") else None
    return int(digits, 0)


def _logical(operator: bytes, left: int | None, right: int | None) -> int | None:
    decisive = operator == b"||"
    for value in (left, right):
        if value is not None and bool(value) is decisive:
            return int(decisive)
    return None if left is None or right is None else int(not decisive)


_ARITHMETIC: dict[bytes, Callable[[int, int], int | None]] = {
    b"+": lambda a, b: a + b,
    b"-": lambda a, b: a - b,
    b"*": lambda a, b: a * b,
    b"/": lambda a, b: int(a / b) if b and abs(a) < 1 << 50 else None,
    b"%": lambda a, b: a % b if b > 0 and a >= 0 else None,
    b"&": lambda a, b: a & b,
    b"|": lambda a, b: a | b,
    b"^": lambda a, b: a ^ b,
    b"<<": lambda a, b: a << b if 0 <= b < _MAX_BITS else None,
    b">>": lambda a, b: a >> b if 0 <= b < _MAX_BITS else None,
    b"==": lambda a, b: int(a == b),
    b"!=": lambda a, b: int(a != b),
    b"<": lambda a, b: int(a < b),
    b">": lambda a, b: int(a > b),
    b"<=": lambda a, b: int(a <= b),
    b">=": lambda a, b: int(a >= b),
}


def _binary(node: tree_sitter.Node, named: Named, depth: int) -> int | None:
    left_node, right_node, sign = (node.child_by_field_name(name) for name in ("left", "right", "operator"))
    if left_node is None or right_node is None or sign is None:
        return None
    left, right = expression_value(left_node, named, depth), expression_value(right_node, named, depth)
    operator = sign.text or b""
    if operator in (b"&&", b"||"):
        return _logical(operator, left, right)
    if operator in (b"&", b"*") and (left == 0 or right == 0):
        return 0
    work = _ARITHMETIC.get(operator)
    if left is None or right is None or work is None:
        return None
    value = work(left, right)
    return value if value is None or abs(value) >> _MAX_BITS == 0 else None


def _unary(node: tree_sitter.Node, named: Named, depth: int) -> int | None:
    argument, sign = node.child_by_field_name("argument"), node.child_by_field_name("operator")
    value = None if argument is None else expression_value(argument, named, depth)
    if value is None or sign is None:
        return None
    return {b"!": int(not value), b"-": -value, b"+": value, b"~": ~value}.get(sign.text or b"")


def _asked(node: tree_sitter.Node, named: Named) -> int | None:
    """``defined(X)`` and ``IS_ENABLED(X)``."""
    name = next((child for child in reversed(node.children) if child.type == "identifier"), None)
    value = None if name is None or name.text is None else named(name.text.decode("ascii", "replace"))
    return None if value is None else int(value)


def _call(node: tree_sitter.Node, named: Named, depth: int) -> int | None:
    function, arguments = node.child_by_field_name("function"), node.child_by_field_name("arguments")
    if function is None or arguments is None or len(arguments.named_children) != 1:
        return None
    if function.text in _ASKS:
        return _asked(arguments, named)
    if function.text in (b"likely", b"unlikely"):
        return expression_value(arguments.named_children[0], named, depth)
    return None


def expression_value(node: tree_sitter.Node, named: Named = lambda _: None, depth: int = 0) -> int | None:
    """Returns the value of a constant expression, or None if it is not known."""
    if depth > _MAX_DEPTH or node.has_error:
        return None
    depth += 1
    kind, text = node.type, node.text or b""
    if kind in ("number_literal", "true", "false", "null"):
        return _WORDS[text] if text in _WORDS else _integer(text)
    if kind in _PLAIN:
        inner = node.named_children
        return expression_value(inner[-1], named, depth) if inner and kind != "compound_literal" else None
    if kind == "cast_expression":
        value = node.child_by_field_name("value")
        return None if value is None else expression_value(value, named, depth)
    if kind == "conditional_expression":
        parts = [node.child_by_field_name(name) for name in ("condition", "consequence", "alternative")]
        condition = None if parts[0] is None else expression_value(parts[0], named, depth)
        chosen = None if condition is None else parts[1 if condition else 2]
        return None if chosen is None else expression_value(chosen, named, depth)
    if kind == "binary_expression":
        return _binary(node, named, depth)
    if kind == "unary_expression":
        return _unary(node, named, depth)
    if kind == "preproc_defined":
        return _asked(node, named)
    return _call(node, named, depth) if kind in ("call_expression", "preproc_call_expression") else None


@lru_cache(maxsize=4096)
def _condition(text: bytes) -> tree_sitter.Node | None:
    if len(text) > _MAX_LENGTH:
        return None
    root = parse_c(b"#if " + text + b"\n#endif\n")
    found = root.named_children[0] if root.named_children and root.named_children[0].type == "preproc_if" else None
    return None if found is None else found.child_by_field_name("condition")


def condition_value(text: bytes, named: Named) -> bool | None:
    """Returns True if the condition of an ``#if`` line (without comments) holds; None if it is not known."""
    node = _condition(text)
    value = None if node is None else expression_value(node, named)
    return None if value is None else bool(value)
