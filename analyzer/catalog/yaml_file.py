"""Reads one YAML file of `catalog/` as plain data, and remembers the line of every value.

The catalogue uses a small part of YAML. A plain scalar is a string, except `true`, `false` and whole numbers of up to
six digits: `6.10` is the text of a release and not the number 6.1, and `4e1234567890` is the id of a commit and not a
number. Anchors, aliases, tags and empty values are refused, because they hide what a file says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from tailcall_audit.analyzer.catalog.check import CatalogError
from tailcall_audit.analyzer.errors import AuditError
from tailcall_audit.analyzer.paths import Kind, kind_of
from tailcall_audit.probes.reading import open_file

if TYPE_CHECKING:
    import yaml

__all__ = ["Complaint", "Data", "Place", "YamlFile", "read_yaml"]

Data: TypeAlias = "str | int | bool | list[Data] | dict[str, Data]"
Place: TypeAlias = "tuple[str | int, ...]"

_MAX_BYTES = 1 << 20
_MAX_DEPTH = 100
_NUMBER = re.compile(r"[0-9]{1,6}", re.ASCII)


class Complaint(NamedTuple):
    """A fault in a file of the catalogue: its kind by name, its place, and the remedy."""

    name: str
    path: Path
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message} [{self.name}]"


class YamlFile(NamedTuple):
    """The data of one file, the line (from 1) of each value by its place, and the complaints about it."""

    path: Path
    data: Data
    lines: dict[Place, int]
    complaints: tuple[Complaint, ...]

    def line(self, place: Place) -> int:
        """Returns the line of a value, or of the nearest value that contains it."""
        while place not in self.lines:
            place = place[:-1]
        return self.lines[place]


class _Reader:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[Place, int] = {}
        self.complaints: list[Complaint] = []

    def complain(self, name: str, node: yaml.Node, message: str) -> None:
        self.complaints.append(Complaint(name, self.path, node.start_mark.line + 1, message))

    def value(self, node: yaml.Node, place: Place) -> Data:
        import yaml

        self.lines[place] = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*place, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        text: str = node.value
        # A plain scalar has the style None, or '' where libyaml has read it.
        if node.style:
            return text
        if text in ("true", "false"):
            return text == "true"
        if text in ("", "~", "null"):
            self.complain("empty-value", node, f"{_name(place)} has no value: leave the whole line out")
        return int(text) if _NUMBER.fullmatch(text) else text

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Data]:
        import yaml

        result: dict[str, Data] = {}
        for key, item in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.complain("yaml-syntax", key, "a key must be a word")
                continue
            if key.value in result:
                self.complain(
                    "duplicate-key",
                    key,
                    f"{key.value} is there twice; the first is on line {self.lines[*place, key.value]}",
                )
                continue
            result[key.value] = self.value(item, (*place, key.value))
            # A complaint names the line of the key; the value may begin lines below it.
            self.lines[*place, key.value] = key.start_mark.line + 1
        return result


def _name(place: Place) -> str:
    return ".".join(str(part) for part in place) or "the file"


def _loader() -> type[yaml.SafeLoader | yaml.CSafeLoader]:
    """libyaml's loader, some ten times as fast; None if PyYAML was built without it."""
    import yaml

    return yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


def _refused(text: str) -> Iterator[tuple[int, str]]:
    """Yields the line of each thing that the catalogue does not use, and what is wrong with it."""
    import yaml

    starts = (
        yaml.BlockMappingStartToken, yaml.BlockSequenceStartToken, yaml.FlowMappingStartToken, yaml.FlowSequenceStartToken,
    )  # fmt: skip
    ends = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)
    depth = 0
    for token in yaml.scan(text, Loader=_loader()):
        if isinstance(token, yaml.AnchorToken | yaml.AliasToken | yaml.TagToken):
            kind = type(token).__name__.removesuffix("Token").lower()
            yield token.start_mark.line + 1, f"the catalogue has no YAML {kind}s: write the value itself"
        depth += isinstance(token, starts) - isinstance(token, ends)
        # libyaml composes nested values in C, without a limit of its own.
        if depth > _MAX_DEPTH:
            yield token.start_mark.line + 1, "not YAML: nested too deeply"


def read_yaml(path: Path) -> YamlFile:
    """Reads a file.

    Faults in it are complaints of the result, whose data is then empty or partial. Raises CatalogError when PyYAML is
    not installed.
    """
    try:
        import yaml
    except ImportError as error:
        raise CatalogError(
            f"{path}: PyYAML reads the files of the catalogue and is not installed: pip install 'tailcall-audit[catalog]'"
        ) from error

    def failed(line: int, message: str, name: str = "yaml-syntax") -> YamlFile:
        return YamlFile(path, {}, {(): 1}, (Complaint(name, path, line, message),))

    try:
        if kind_of(path) is Kind.OTHER:
            return failed(1, "cannot read the file: a pipe or a device", "unreadable")
        with open_file(path) as file:
            raw = file.read(_MAX_BYTES + 1)
        if len(raw) > _MAX_BYTES:
            return failed(1, f"larger than {_MAX_BYTES >> 20} MiB, which no file of the catalogue is")
        text = raw.decode()
    except AuditError as error:
        return failed(1, str(error), "unreadable")
    except OSError as error:
        return failed(1, f"cannot read the file: {error.strerror}", "unreadable")
    except UnicodeDecodeError as error:
        return failed(raw[: error.start].count(b"\n") + 1, "not UTF-8")
    try:
        for line, message in _refused(text):
            return failed(line, message)
        node = yaml.compose(text, Loader=_loader())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return failed(mark.line + 1 if mark else 1, f"not YAML: {error.problem or error.context}")
    except yaml.YAMLError as error:
        return failed(1, f"not YAML: {error}")
    if node is None:
        return failed(1, "the file is empty", "empty-value")
    reader = _Reader(path)
    data = reader.value(node, ())
    return YamlFile(path, data, reader.lines, tuple(reader.complaints))
