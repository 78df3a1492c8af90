"""Settings: the user's defaults. The command line takes precedence over the environment, and the environment over the
file.

The file is the one that the command line or TAILCALL_AUDIT_SETTINGS names, otherwise the one in the user's
configuration folder. A file in the working folder is used only if it is named: an audited tree must not waive its own
defects.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from tailcall_audit.analyzer.errors import AuditError, did_you_mean
from tailcall_audit.analyzer.text import printable

__all__ = ["FILE_NAMES", "SETTINGS", "Setting", "SettingsFile", "Value", "read_settings_file", "resolve", "user_file"]

FILE_NAMES = ("tailcall-audit.toml", ".tailcall-audit.toml")
"""The names of the file in the user's configuration folder; in the working folder it has the second name."""
_FOLDER = "tailcall-audit"
_MAX_BYTES = 1 << 20
_PREFIX = "TAILCALL_AUDIT_"


class Setting(NamedTuple):
    """A setting: its name in the file, which is also the name of the option, and a description. `path` is True for a
    path; in a file it is relative to the file's folder. `many` is True for a list of words.
    """

    name: str
    what: str
    path: bool = False
    many: bool = False

    @property
    def variable(self) -> str:
        """The environment variable of this setting."""
        return _PREFIX + self.name.upper().replace("-", "_")


SETTINGS = (
    Setting("catalog", "the catalogue, another commits.json", path=True),
    Setting("surveys", "the folder of surveys, or none", path=True),
    Setting("format", "the format of a report"),
    Setting("fail-on", "what makes an audit fail", many=True),
    Setting("min-confidence", "the confidence below which a verdict counts as unknown"),
    Setting("severity", "the lowest severity of the defects that are looked for"),
    Setting("max-age", "the age in days of a catalogue or survey that decides nothing any more"),
    Setting("repositories", "the package repositories in which --online looks builds up", many=True),
    Setting("publisher", "who publishes a VEX, CSAF or CycloneDX document"),
    Setting("publisher-namespace", "the address that is the publisher's own"),
)
_BY_NAME = {item.name: item for item in SETTINGS}


COMMAND_LINE = "command line"
"""The source of a setting that an option gave, as reports show it."""


class Value(NamedTuple):
    """The value of a setting (None: the tool's own default), and its source."""

    name: str
    value: str | None
    origin: str

    @property
    def is_option(self) -> bool:
        """True if the user gave it on the command line."""
        return self.origin == COMMAND_LINE


class SettingsFile(NamedTuple):
    """A settings file that was read: its name, its text, its values, and its waivers as parsed from TOML."""

    name: str = ""
    text: str = ""
    values: Mapping[str, Value] = {}
    waivers: object = ()


def user_file() -> str | None:
    """Returns the settings file in the user's configuration folder (XDG_CONFIG_HOME); None if there is none.

    Raises AuditError if there are two. A folder whose path is not absolute is ignored: files in the working folder may
    be anyone's. platformdirs is not used, because its import takes a fifth of the time of an audit of a version string.
    """
    home = os.environ.get("XDG_CONFIG_HOME", "").strip()
    if not os.path.isabs(home):
        home = os.path.expanduser("~/.config")
    if not os.path.isabs(home):
        return None
    found = [path for name in FILE_NAMES if os.path.isfile(path := os.path.join(home, _FOLDER, name))]
    if len(found) > 1:
        raise AuditError(f"{found[0]} and {found[1]}: two settings files: remove one")
    return found[0] if found else None


def _line(text: str, name: str) -> int:
    """Returns the line number of a top-level key; 1 if it is not found."""
    match = re.search(rf'^[ \t]*"?{re.escape(name)}"?[ \t]*=', text, re.MULTILINE)
    return 1 if match is None else text.count("\n", 0, match.start()) + 1


def _as_text(setting: Setting, value: object, place: str, folder: str) -> str:
    """Returns a value from the file as the text of an option; raises AuditError if it has the wrong type."""
    if setting.many and isinstance(value, list) and all(isinstance(word, str) for word in value):
        return ",".join(value)
    if setting.name == "surveys" and value is False:
        return "none"
    if not isinstance(value, str) or not value.strip():
        raise AuditError(f"{place}: {setting.name} is a text{' or a list of texts' if setting.many else ''}")
    if setting.path and value != "none":
        return os.path.join(folder, os.path.expanduser(value))
    return value.strip()


def read_settings_file(path: str) -> SettingsFile:
    """Returns the content of a settings file. Raises AuditError if it cannot be read or has a key that is not a
    setting.
    """
    import tomllib
    from pathlib import Path

    from tailcall_audit.probes.reading import read_file

    name = os.path.expanduser(path)
    try:
        text = read_file(Path(name), _MAX_BYTES).decode()
        data = tomllib.loads(text)
    except OSError as error:
        raise AuditError(f"{name}: cannot read the settings: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise AuditError(f"{name}: no TOML file: {error}") from error
    folder = os.path.dirname(os.path.abspath(name))
    values = {}
    for key, value in data.items():
        if key == "waiver":
            continue
        place = f"{name}:{_line(text, key)}"
        if key not in _BY_NAME:
            known = [*_BY_NAME, "waiver"]
            meant = did_you_mean(key, known) or f"; there are {', '.join(known)}"
            raise AuditError(f"{place}: no setting {printable(key, 80)!r}{meant}")
        values[key] = Value(key, _as_text(_BY_NAME[key], value, place, folder), place)
    return SettingsFile(name, text, values, data.get("waiver", ()))


def resolve(
    given: Mapping[str, str | None],
    file: SettingsFile,
    environment: Mapping[str, str],
    default: Callable[[str], str | None] = lambda _: None,
) -> dict[str, Value]:
    """Returns every setting with its source. `given` are the options of the command line, by the name of the setting.
    `default` returns the tool's own value for a setting that is not set. An empty environment variable sets nothing.
    """
    found = {}
    for setting in SETTINGS:
        option, variable = given.get(setting.name), environment.get(setting.variable, "").strip()
        if option is not None:
            value = Value(setting.name, option, COMMAND_LINE)
        elif variable:
            value = Value(setting.name, variable, setting.variable)
        else:
            value = file.values.get(setting.name) or Value(setting.name, default(setting.name), "default")
        found[setting.name] = value
    return found
