"""Statements of a C function that no run can reach: after a jump, or under a condition that is constantly false. A
check after ``return`` or in ``if (0)`` fixes nothing. Only code that is certainly dead is cut out; code whose condition
depends on a value at run time stays in.
"""

from __future__ import annotations

import re

from tree_sitter import Node

from tailcall_audit.analyzer.kernelfiles.cconstant import expression_value
from tailcall_audit.analyzer.kernelfiles.conditionals import blank

__all__ = ["without_dead_code"]

_JUMPS = frozenset(("return_statement", "goto_statement", "break_statement", "continue_statement"))
_LABELS = frozenset(("labeled_statement", "case_statement"))
_DECIDES = re.compile(rb"&&|\|\||\?|\{")
"""The node types of which a part can be dead: conditions, and statements of their own."""
_CONSTANT = re.compile(rb"\d|true|false|NULL")
"""What an expression needs to have a value without the values of its names."""
_MAX_DEPTH = 150


class _Cutter:
    """Finds the dead parts of one function as (start, end) bytes; `too_deep` is True if it is nested too deeply."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self.dead: list[tuple[int, int]] = []
        self.too_deep = False

    def _cut(self, node: Node | None) -> None:
        if node is not None:
            self.dead.append((node.start_byte, node.end_byte))

    def block(self, statements: list[Node], depth: int) -> bool:
        """Visits statements in order; returns True if the end is never reached."""
        ended = False
        for node in statements:
            if ended and not _has_label(node):
                self._cut(node)
                continue
            ended = self.visit(node, depth) and self._begins_here(node)
        return ended

    def _begins_here(self, node: Node) -> bool:
        """Returns True if a statement is on its own: after ``for_each_x(y)`` the parser takes the body of the loop for
        a separate statement.
        """
        before = self._text[max(0, node.start_byte - 400) : node.start_byte].rstrip()
        return before.endswith((b";", b"{", b"}", b":"))

    def visit(self, node: Node, depth: int = 0) -> bool:
        """Visits one statement or expression; returns True if the code after it is never reached."""
        if depth > _MAX_DEPTH:
            self.too_deep = True
            return False
        kind = node.type
        if kind in _JUMPS:
            self._children(node, depth)
            return True
        if self._is_plain(node, kind):
            return False
        if kind == "compound_statement":
            return self.block(node.named_children, depth + 1)
        if kind in _LABELS:
            # break and continue end the rest of a case, not the code after the switch.
            return self.block(node.named_children, depth + 1)
        if kind == "if_statement":
            return self._if(node, depth)
        if kind in ("while_statement", "for_statement", "do_statement"):
            return self._loop(node, depth)
        if kind == "switch_statement":
            self._children(node, depth)
            return False
        if kind == "conditional_expression":
            self._conditional(node)
        elif kind == "binary_expression":
            self._logical(node)
        elif kind == "function_definition" and _is_nested_function(node):
            self._cut(node)
            return False
        self._children(node, depth)
        return False

    def _is_plain(self, node: Node, kind: str) -> bool:
        """Returns True for an expression or declaration of which no part can be dead, as most nodes of a function are."""
        return (
            (kind in ("declaration", "expression_statement") or kind.endswith("_expression"))
            and _DECIDES.search(self._text, node.start_byte, node.end_byte) is None
            and not node.has_error
        )

    def _value(self, node: Node) -> int | None:
        """Returns the value of an expression, or None if it is not known, as for most."""
        if _CONSTANT.search(self._text, node.start_byte, node.end_byte) is None:
            return None
        return expression_value(node)

    def _children(self, node: Node, depth: int) -> None:
        for child in node.named_children:
            self.visit(child, depth + 1)

    def _if(self, node: Node, depth: int) -> bool:
        condition, then, other = (
            node.child_by_field_name(name) for name in ("condition", "consequence", "alternative")
        )
        value = None if condition is None else self._value(condition)
        otherwise = None if other is None else next(iter(other.named_children), None)
        if condition is not None:
            self.visit(condition, depth + 1)
        ends = []
        for branch, taken in ((then, value != 0), (otherwise, value is None or value == 0)):
            if branch is None:
                ends.append((taken, False))
            elif not taken and not _has_label(branch):
                self._cut(branch)
            else:
                ends.append((taken, self.visit(branch, depth + 1)))
        if value is not None:
            return any(ended for taken, ended in ends if taken)
        return len(ends) == 2 and all(ended for _, ended in ends)

    def _loop(self, node: Node, depth: int) -> bool:
        condition, body = node.child_by_field_name("condition"), node.child_by_field_name("body")
        never = condition is not None and node.type != "do_statement" and self._value(condition) == 0
        if never and body is not None and not _has_label(body):
            self._cut(body)
            return False
        self._children(node, depth)
        return False

    def _conditional(self, node: Node) -> None:
        condition = node.child_by_field_name("condition")
        value = None if condition is None else self._value(condition)
        if value is not None:
            self._cut(node.child_by_field_name("alternative" if value else "consequence"))

    def _logical(self, node: Node) -> None:
        """Handles ``0 && x`` and ``1 || x``, in which x is never evaluated, and ``x && 0``, which is always false."""
        left, right, sign = (node.child_by_field_name(name) for name in ("left", "right", "operator"))
        if left is None or right is None or sign is None or sign.text not in (b"&&", b"||"):
            return
        decisive = sign.text == b"||"
        for one, other in ((left, right), (right, left)):
            value = self._value(one)
            if value is not None and bool(value) is decisive:
                self._cut(other)


def _is_nested_function(node: Node) -> bool:
    """Returns True if a definition inside a function really is one: the parser takes ``for_each_x(y) {`` for a
    definition as well.
    """
    declarator = node.child_by_field_name("declarator")
    inner = None if declarator is None else declarator.child_by_field_name("declarator")
    has_type = node.child_by_field_name("type") is not None
    return (
        has_type
        and declarator is not None
        and declarator.type == "function_declarator"
        and (inner is not None and inner.type == "identifier")
    )


def _has_label(node: Node) -> bool:
    """Returns True if a jump may lead into a statement."""
    stack = [node]
    while stack:
        item = stack.pop()
        if item.type in _LABELS:
            return True
        stack += item.named_children
    return False


def without_dead_code(text: bytes, function: Node) -> bytes | None:
    """Returns the text of a function with its dead parts blanked; None if it is nested too deeply to follow.

    `function` is the node of its definition in a parse of `text`.
    """
    body = function.child_by_field_name("body")
    if body is None:
        return text
    cutter = _Cutter(text)
    cutter.visit(body)
    if cutter.too_deep:
        return None
    out, position = [], 0
    for start, end in sorted(cutter.dead):
        if start >= position:
            out += [text[position:start], blank(text[start:end])]
            position = end
    out.append(text[position:])
    return b"".join(out)
