"""The options of an audit, and its ``--help``."""

from __future__ import annotations

import argparse

from tailcall_audit import __version__
from tailcall_audit.analyzer.app.gating import add_baseline_option, add_gate_options
from tailcall_audit.analyzer.app.parser import Parser
from tailcall_audit.analyzer.app.shared import (
    add_catalog_options,
    add_choice_options,
    add_format_options,
    add_guest_options,
)
from tailcall_audit.analyzer.formats.registry import FormatNames

__all__ = ["audit_parser"]

_DESCRIPTION = """\
Does this kernel have the known defects of eBPF tail calls? Answers affected, fixed, not-affected or unknown for each, with
the evidence. With no target it audits the kernel that runs here. It changes nothing, and uses the network only
if an option says so."""

_EPILOG = """\
targets (one kind at a time; --kernel, --tree and --package may be repeated):
  tailcall-audit                               the running kernel
  tailcall-audit 6.1.170 vmlinuz ~/linux       what each is, is recognised by its contents
  tailcall-audit --kernel 6.1.170 --arch arm64 a release string; whole lines of `uname -a`, /proc/version or
                                               /proc/version_signature prove more
  tailcall-audit --package linux-image-6.1.0-47-amd64_6.1.170-3_amd64.deb
                                               a package file, by its changelog and configuration
  tailcall-audit --package linux-image-6.1.0-47-amd64=6.1.170-3 --distro debian
                                               the same, by the changelog that Debian publishes
  tailcall-audit --repo /srv/mirror/BaseOS     every kernel of a repository, a row each
  kubectl get nodes -o json | tailcall-audit --nodes -
                                               every kernel of a fleet, with how many nodes run it
  tailcall-audit --text sosreport.tar.xz       every kernel that names itself in logs
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

do my programs hit it (docs/exposure.md):
  tailcall-audit exposure prog.bpf.o           what BPF programs do of what each defect needs
  tailcall-audit 6.1.170 --programs prog.bpf.o a kernel, judged by what these programs do

what to do about it (docs/plan.md):
  tailcall-audit plan --tree ~/linux           which commits mend it, in which order, and do they apply

the catalogue:
  tailcall-audit list                          all defects, a line each
  tailcall-audit explain freplace-loop         the whole story of one; also by pitfall number or commit id
  tailcall-audit catalog build                 build and check the catalogue (docs/catalog.md)

exit codes:
  0  nothing affected and nothing unknown      3  nothing known to be affected, something unknown
  1  something affected                           (--allow-unknown makes it 0; --fail-on: docs/gates.md)
  2  wrong usage, or input or output fails     4  internal error
                                               5  a probe saw what the prediction denied"""


_USAGE = """\
tailcall-audit [TARGET… | --kernel STRING | --tree PATH [--rev REV] | --package FILE|NAME | --installed | --nodes FILE|- | --text FILE|DIR|TAR
                       | --rootfs DIR | --oci FILE|DIR | --disk FILE
                       | --image FILE | --repo PATH|URL | --changelog FILE|URL]
                      [--config FILE] [--arch NAME] [options]
       tailcall-audit list | explain SLUG|NUMBER|COMMIT | exposure FILE… | plan --tree PATH | diff OLD NEW | lab FILE|DIR… | guest …
                      | survey … | catalog … | completion SHELL"""


def _add_target_options(parser: argparse.ArgumentParser) -> None:
    target = parser.add_argument_group("target")
    _add_kernels(target)
    _add_packages(target)
    _add_images(target)
    _add_fleets(parser)


def _add_kernels(target: argparse._ArgumentGroup) -> None:
    target.add_argument(
        "targets",
        nargs="*",
        metavar="TARGET",
        help="a kernel release string, or a file or folder that is recognised by its contents: an image, a package, a changelog,"
        " a configuration, a tree, a repository",
    )
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


def _add_packages(target: argparse._ArgumentGroup) -> None:
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
        help="fetch the changelog of a package that is neither a file nor installed from this distribution (debian,"
        " debian:bookworm, ubuntu, …); with --changelog, the distribution whose builds it lists, if its versions carry no"
        " mark (openeuler:oe2203sp4)",
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
        help="the changelog's format, if detection guesses wrong",
    )


def _add_images(target: argparse._ArgumentGroup) -> None:
    target.add_argument("--config", metavar="FILE", help="a kernel configuration (.config, also gzip-compressed)")
    target.add_argument(
        "--arch",
        metavar="NAME",
        help="the architecture (x86_64, arm64, s390x, riscv64, …; other spellings are understood)",
    )
    target.add_argument(
        "--image",
        metavar="FILE",
        help="a kernel image (vmlinuz, vmlinux, bzImage, Image.gz, a UKI); beside another target, the image to boot for --confirm=vm",
    )
    target.add_argument(
        "--system-map", metavar="FILE", help="the image's System.map, where its own symbols can't be read"
    )
    target.add_argument(
        "--no-emulation",
        action="store_false",
        dest="emulate",
        help="run no function of an image in the emulator (docs/emulation.md): read it only",
    )


def _add_fleets(parser: argparse.ArgumentParser) -> None:
    fleet = parser.add_argument_group("many kernels (docs/fleets.md)")
    fleet.add_argument(
        "--nodes",
        metavar="FILE|-",
        help="a list of nodes, each distinct kernel judged once: kubectl get nodes (-o json, -o wide), Ansible facts, osquery JSON,"
        " CSV or TSV with a header, or lines of a name and a kernel",
    )
    fleet.add_argument(
        "--nodes-format",
        choices=("json", "table", "csv", "lines"),
        help="how the list is written, if detection guesses wrong",
    )
    fleet.add_argument(
        "--text",
        action="append",
        default=[],
        metavar="FILE|-|DIR|TAR",
        help="logs: every kernel that names itself in a journal, dmesg, console log, sosreport or sysdump; traces that are like those of"
        " known defects are named beside it",
    )
    fleet.add_argument(
        "--rootfs",
        action="append",
        default=[],
        metavar="DIR",
        help="every kernel of a root file system that is not this host's: a mounted disk, a host's mount, an unpacked initrd",
    )
    fleet.add_argument(
        "--oci",
        action="append",
        default=[],
        metavar="FILE|DIR",
        help="every kernel of container images: an archive of docker save, or an OCI layout",
    )
    fleet.add_argument(
        "--disk",
        action="append",
        default=[],
        metavar="FILE",
        help="every kernel on an image of a disk: raw, qcow2, vmdk or ISO; ext4, XFS, Btrfs, SquashFS, LVM (the extra [disk])",
    )
    fleet.add_argument(
        "--no-live-patches",
        action="store_true",
        help="the nodes have no live patches (kpatch, KernelCare): without it their verdicts are at most of medium confidence",
    )


def _add_source_options(parser: argparse.ArgumentParser) -> None:
    network = parser.add_argument_group(
        "network (only --online, --distro, and --repo and --changelog with an address use it)"
    )
    network.add_argument(
        "--online",
        action="store_true",
        help="look up what a release string leaves unknown: in the changelog that its distribution publishes, or in the"
        " repositories that `survey --repo … --write` was given",
    )
    network.add_argument("--offline", action="store_true", help="fetch nothing: only what is in the cache, however old")
    network.add_argument(
        "--refresh", action="store_true", help="fetch everything again, even if the cached copy is new"
    )
    programs = parser.add_argument_group("programs (docs/exposure.md): judge each defect by what these BPF programs do")
    programs.add_argument(
        "--programs",
        action="append",
        default=[],
        metavar="FILE|loaded",
        help="BPF objects, bpftool's JSON, or what is loaded on this host",
    )
    programs.add_argument("--closed", action="store_true", help="no other program is loaded, and nothing else attached")
    programs.add_argument("--jit", action="store_true", help="the kernel compiles them (net.core.bpf_jit_enable)")
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


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    choice = parser.add_argument_group("which defects")
    add_choice_options(choice)
    choice.add_argument(
        "--max-age",
        metavar="DAYS",
        help="a catalogue or survey that is older decides nothing: verdicts that need it are unknown",
    )
    choice.add_argument("--all", action="store_true", help="show defects in the code of other architectures too")
    output = parser.add_argument_group("output")
    output.add_argument("--explain", action="store_true", help="add the evidence, its citations and the consequence")
    add_format_options(
        output,
        FormatNames(),
        "table (at a terminal), plain, json, jsonl, csv, markdown, html, sarif, junit, openvex, csaf, cyclonedx,"
        " prometheus (docs/formats.md)",
    )
    output.add_argument("--output", metavar="FILE", help="write the report there, all of it or nothing")
    output.add_argument("--quiet", action="store_true", help="no progress")
    gate = parser.add_argument_group("what fails (docs/gates.md)")
    add_gate_options(gate)
    add_baseline_option(gate)
    other = parser.add_argument_group("other")
    add_catalog_options(other)
    other.add_argument(
        "--surveys", metavar="DIR", help="a folder of surveys instead of the user's; none: use no surveys"
    )
    other.add_argument(
        "--show-config",
        action="store_true",
        help="show every setting, where it is from, and the waivers; audit nothing",
    )
    other.add_argument("--version", action="version", version=f"tailcall-audit {__version__}")


def audit_parser() -> Parser:
    """Returns the parser of an audit."""
    parser = Parser("tailcall-audit", _DESCRIPTION, _EPILOG, _USAGE)
    _add_target_options(parser)
    _add_source_options(parser)
    _add_output_options(parser)
    return parser
