"""The command line's options, and what `--help` teaches."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, NoReturn

from tailcall_audit import __version__
from tailcall_audit.analyzer.app.streams import say_lines, show
from tailcall_audit.analyzer.text import printable, printable_lines

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

__all__ = ["audit_parser", "catalog_parser", "lab_parser"]

_DESCRIPTION = """\
Does this kernel have the known defects of eBPF tail calls? Answers affected, fixed, not-affected or unknown for each, with
the evidence. With no target it audits the kernel that runs here; nothing is changed, and the network is
asked only by the options that say so."""

_EPILOG = """\
targets (one kind at a time; --kernel, --tree and --package may be repeated):
  tailcall-audit                               the running kernel
  tailcall-audit --kernel 6.1.170 --arch arm64 a release string; whole lines of `uname -a`, /proc/version or
                                               /proc/version_signature prove more
  tailcall-audit --package linux-image-6.1.0-47-amd64_6.1.170-3_amd64.deb
                                               a package file, by its changelog and configuration
  tailcall-audit --package linux-image-6.1.0-47-amd64=6.1.170-3 --distro debian
                                               the same, by the changelog that Debian publishes
  tailcall-audit --repo /srv/mirror/BaseOS     every kernel of a repository, a row each
  tailcall-audit --changelog changelog.Debian.gz --package-version 6.1.170-3
                                               a package, by its changelog
  tailcall-audit --image /boot/vmlinuz-6.1…    a kernel image
  tailcall-audit --config /boot/config-6.1…    a configuration; alone, or together with another target
  tailcall-audit --tree ~/linux                a clone (bare, shallow, worktree, …) or an unpacked tarball:
                                               the files on disk and the history of HEAD
  tailcall-audit --tree ~/linux --rev v6.1.72  one revision of it

proof (docs/probes.md):
  tailcall-audit --confirm                     probes on this host, as root
  tailcall-audit --image vmlinuz --confirm=vm  probes in a guest booted from that image; also with --package, --installed
  tailcall-audit lab /srv/kernels              many kernels in guests, as a table

the catalogue:
  tailcall-audit list                          all defects, a line each
  tailcall-audit explain freplace-loop         the whole story of one; also by pitfall number or commit id
  tailcall-audit catalog build                 for those who change the catalogue (docs/catalog.md)

exit codes:
  0  nothing affected and nothing unknown      3  nothing known to be affected, something unknown
  1  something affected                           (--allow-unknown makes it 0)
  2  wrong usage or unreadable input           4  internal error
                                               5  a probe saw what the prediction denied"""


class _Parser(argparse.ArgumentParser):
    """argparse, whose messages quote what was given: nothing of that reaches a terminal raw."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the message, in a line of its own, and exit with 2."""
        super().error(printable(message))

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        # Help, version and errors all end here, in every Python so far. Without a file, standard output is closed.
        if file is sys.stderr:
            say_lines(message)
        else:
            show(printable_lines(message))


def _formatter(prog: str) -> argparse.HelpFormatter:
    # With a width of its own argparse need not import shutil, and all of compression with it, to ask the terminal.
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=28, width=100)


def audit_parser() -> argparse.ArgumentParser:
    """The options of an audit."""
    parser = _Parser(
        prog="tailcall-audit",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=_formatter,
        allow_abbrev=False,
        usage="tailcall-audit [--kernel STRING | --tree PATH [--rev REV] | --package FILE|NAME | --installed\n"
        "                       | --image FILE | --repo PATH|URL | --changelog FILE|URL]\n"
        "                      [--config FILE] [--arch NAME] [options]\n"
        "       tailcall-audit lab FILE|DIR…\n"
        "       tailcall-audit list | explain SLUG|NUMBER|COMMIT",
    )
    target = parser.add_argument_group("target")
    target.add_argument(
        "--kernel",
        action="append",
        default=[],
        metavar="STRING",
        help="a kernel release string, or a line that names a kernel",
    )
    target.add_argument(
        "--tree", action="append", default=[], metavar="PATH", help="a kernel source tree or repository"
    )
    target.add_argument("--rev", metavar="REV", help="audit this revision of the tree, not the files on disk")
    target.add_argument(
        "--package",
        action="append",
        default=[],
        metavar="FILE|NAME",
        help="a kernel package: a .deb or .rpm file, the name of an installed one, or NAME=VERSION of one that"
        " the distribution publishes (its changelog is fetched)",
    )
    target.add_argument(
        "--distro",
        metavar="NAME[:RELEASE]",
        help="where to fetch a package's changelog: debian, debian:bookworm, ubuntu, … (else this host's own)",
    )
    target.add_argument(
        "--installed", action="store_true", help="every kernel installed here by dpkg or RPM, the running one marked"
    )
    target.add_argument(
        "--repo",
        metavar="PATH|URL",
        help="every kernel of a repository, a row each: RPM's repodata, or a Debian Packages file",
    )
    target.add_argument(
        "--changelog",
        metavar="FILE|URL",
        help="a package's changelog (Debian, Ubuntu, RPM, .spec, SUSE; compressed too; - reads standard input)",
    )
    target.add_argument(
        "--package-version", metavar="VERSION", help="audit this version of the changelog, not its newest"
    )
    target.add_argument(
        "--changelog-format",
        choices=("debian", "ubuntu", "rpm", "suse"),
        help="the form of the changelog, where it is not told right by itself",
    )
    target.add_argument("--config", metavar="FILE", help="a kernel configuration (.config, also gzip-compressed)")
    target.add_argument(
        "--arch",
        metavar="NAME",
        help="the architecture (x86_64, arm64, s390x, riscv64, …; other spellings are understood)",
    )
    network = parser.add_argument_group("network (only --distro, --repo and --changelog with an address use it)")
    network.add_argument("--offline", action="store_true", help="fetch nothing: only what is in the cache, however old")
    network.add_argument(
        "--refresh", action="store_true", help="ask for everything anew, however young the cached copy is"
    )
    target.add_argument(
        "--image",
        metavar="FILE",
        help="a kernel image (vmlinuz, vmlinux, bzImage, Image.gz, a UKI); beside another target, the image to boot for --confirm=vm",
    )
    target.add_argument(
        "--system-map", metavar="FILE", help="the image's System.map, where its own symbols can't be read"
    )
    live = parser.add_argument_group("live probes")
    live.add_argument(
        "--confirm",
        nargs="?",
        const="host",
        choices=("host", "vm"),
        help="run BPF programs that provoke each defect and say whether the prediction holds: on this host (needs root; what"
        " could panic is left out), or with =vm in a throw-away guest booted from the audited kernel's image",
    )
    add_guest_options(live)
    choice = parser.add_argument_group("which defects")
    choice.add_argument(
        "--only", action="append", default=[], metavar="SLUG,…", help="only these, by slug or pitfall number"
    )
    choice.add_argument("--pitfalls", action="store_true", help="only the six pitfalls")
    choice.add_argument("--all", action="store_true", help="show those in code of other architectures too")
    output = parser.add_argument_group("output")
    output.add_argument("--explain", action="store_true", help="add the evidence, its citations and the consequence")
    output.add_argument("--json", action="store_true", help="print the report as JSON (docs/report.md)")
    output.add_argument("--output", metavar="FILE", help="write the report there, all of it or nothing")
    output.add_argument(
        "--allow-unknown",
        action="store_true",
        help="exit with 0, not 3, when something is unknown and nothing affected",
    )
    output.add_argument("--quiet", action="store_true", help="no progress")
    other = parser.add_argument_group("other")
    other.add_argument("--catalog", metavar="FILE", help="another commits.json")
    other.add_argument("--debug", action="store_true", help="a traceback on an internal error")
    other.add_argument("--version", action="version", version=f"tailcall-audit {__version__}")
    return parser


def catalog_parser(command: str) -> argparse.ArgumentParser:
    """The options of ``list`` and ``explain``."""
    parser = _Parser(
        prog=f"tailcall-audit {command}",
        description="The defects of the catalogue." if command == "list" else "The whole story of a defect.",
        allow_abbrev=False,
    )
    if command == "explain":
        parser.add_argument(
            "name",
            metavar="SLUG|NUMBER|COMMIT",
            help="a slug, a pitfall number from 1 to 6, or a commit id of 12 or more digits",
        )
    parser.add_argument("--catalog", metavar="FILE", help="another commits.json")
    parser.add_argument("--output", metavar="FILE", help="write it there")
    parser.add_argument("--debug", action="store_true", help="a traceback on an internal error")
    return parser


def add_guest_options(group: argparse._ArgumentGroup) -> None:
    """The options of guests, which an audit and the lab share."""
    group.add_argument("--kvm", action="store_true", help="let the guest run on the processor itself, not emulated")
    group.add_argument("--guest-memory", type=_positive, default=512, metavar="MIB", help="the guest's memory (512)")
    group.add_argument(
        "--guest-timeout",
        type=_positive,
        default=90,
        metavar="SECONDS",
        help="how long a guest may be silent before it is given up (90)",
    )


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1 << 20):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return int(text)


def lab_parser() -> argparse.ArgumentParser:
    """The options of ``lab``."""
    parser = _Parser(
        prog="tailcall-audit lab",
        description="Boots many kernels, a few at a time, and shows for each defect what was predicted and what was seen.\n"
        "Each is a kernel image or a package with one; of a folder every file that is either.",
        formatter_class=_formatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "files", nargs="+", metavar="FILE|DIR", help="kernel images, .deb and .rpm packages, folders of them"
    )
    parser.add_argument("--jobs", type=_positive, default=2, metavar="N", help="how many guests at a time (2)")
    add_guest_options(parser.add_argument_group("guests"))
    parser.add_argument(
        "--only", action="append", default=[], metavar="SLUG,…", help="only these, by slug or pitfall number"
    )
    parser.add_argument("--pitfalls", action="store_true", help="only the six pitfalls")
    parser.add_argument("--json", action="store_true", help="print the report as JSON (docs/report.md)")
    parser.add_argument("--output", metavar="FILE", help="write the report there, all of it or nothing")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.add_argument("--catalog", metavar="FILE", help="another commits.json")
    parser.add_argument("--debug", action="store_true", help="a traceback on an internal error")
    return parser
