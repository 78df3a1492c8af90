"""The entry point of the command line: runs the subcommand, and turns errors into messages and exit codes."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence

from tailcall_audit.analyzer.app.commands import COMMANDS
from tailcall_audit.analyzer.app.shared import EXIT_INTERNAL, EXIT_INTERRUPTED, EXIT_USAGE
from tailcall_audit.analyzer.app.streams import prepare, say, say_lines
from tailcall_audit.analyzer.errors import AuditError, naming

__all__ = ["main"]

_OPTIONS = {
    "kernels": "--kernel",
    "trees": "--tree",
    "packages": "--package",
    "images": "--image",
    "installed": "--installed",
    "repository": "--repo",
    "changelog": "--changelog",
    "nodes": "--nodes",
    "nodes_format": "--nodes-format",
    "no_live_patches": "--no-live-patches",
    "texts": "--text",
    "roots": "--rootfs",
    "oci": "--oci",
    "disks": "--disk",
    "package_version": "--package-version",
    "changelog_format": "--changelog-format",
    "distro": "--distro",
    "offline": "--offline",
    "online": "--online",
    "max_age": "--max-age",
    "refresh": "--refresh",
    "config": "--config",
    "rev": "--rev",
    "system_map": "--system-map",
    "arch": "--arch",
    "severity": "--severity",
    "bpftool": "--bpftool",
}
"""The option of each parameter of `audit()`."""


def _run(given: Sequence[str]) -> int:
    command = next((item for item in COMMANDS if given and item.name == given[0]), None)
    if command is not None:
        return command.run(given[1:])
    from tailcall_audit.analyzer.app.audit import run

    return run(given)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code; argparse itself exits with 2 on wrong options."""
    prepare()
    # An audit makes many small objects and few circles of them: the garbage collector took a third of a fleet's time.
    gc.set_threshold(100_000, 20, 100)
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with naming(_OPTIONS):
            return _run(given)
    except AuditError as error:
        say(str(error))
        return EXIT_USAGE
    except OSError as error:
        say(f"{error.filename or 'input'}: {error.strerror or error}")
        return EXIT_USAGE
    except MemoryError:
        say("not enough memory to read this input")
        return EXIT_USAGE
    except KeyboardInterrupt:
        say("interrupted")
        return EXIT_INTERRUPTED
    except Exception as error:  # the last line of defence: one line for users, the traceback with --debug
        if "--debug" in given:
            import traceback

            say_lines(traceback.format_exc())
        say(f"internal error: {type(error).__name__}: {error} (--debug shows where; please report it)")
        return EXIT_INTERNAL
