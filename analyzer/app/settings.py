"""The settings of a call: options, environment and file, put together."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from typing import NamedTuple

from tailcall_audit.analyzer.app.streams import say
from tailcall_audit.analyzer.gates.settings import (
    FILE_NAMES,
    SETTINGS,
    SettingsFile,
    Value,
    read_settings_file,
    resolve,
    user_file,
)

__all__ = ["NONE", "SETTINGS_VARIABLE", "Settings", "fill", "settings_of"]

NONE = "none"
"""The values that name no file or folder."""
SETTINGS_VARIABLE = "TAILCALL_AUDIT_SETTINGS"


class Settings(NamedTuple):
    """Every setting with its origin, by name, and the file that was read."""

    values: dict[str, Value]
    file: SettingsFile


def _file(options: argparse.Namespace) -> SettingsFile:
    """Reads the file that applies; raises AuditError. A file in the working folder that does not apply is named in a
    note.
    """
    named = getattr(options, "settings", None) or os.environ.get(SETTINGS_VARIABLE, "").strip() or None
    if named == NONE:
        return SettingsFile()
    path = named or user_file()
    if named is None and os.path.lexists(FILE_NAMES[1]):
        say(f"{FILE_NAMES[1]} of this folder is not used: --settings {FILE_NAMES[1]} does")
    return SettingsFile() if path is None else read_settings_file(path)


def settings_of(options: argparse.Namespace) -> Settings:
    """Returns the settings of a call, whose options have the names of settings; raises AuditError."""
    given = {item.name: getattr(options, item.name.replace("-", "_"), None) for item in SETTINGS}
    file = _file(options)
    return Settings(resolve(given, file, os.environ), file)


def fill(options: argparse.Namespace, names: Iterable[str]) -> Settings:
    """Sets each of these options that was not given to its setting, and returns the settings; raises AuditError."""
    found = settings_of(options)
    for name in names:
        setattr(options, name.replace("-", "_"), found.values[name].value)
    return found
