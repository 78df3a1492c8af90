"""Nasty texts, source trees and git repositories."""

from __future__ import annotations

import zlib
from collections.abc import Callable

from tests.fuzzing.nasty import blanks, nasty
from tests.repositories import FIX_6, FIX_6_SUBJECT, GIT_FILES, INTRODUCTION_6_SUBJECT, backport, makefile
from tests.strategies.case import Case, Content, Fifo, Link
from tests.strategies.repositories import history

# Texts.

_DEBIAN = b"linux (6.1.170-3) bookworm; urgency=medium\n\n  * "
_RPM = b"* Mon Mar 04 2024 A B <a@example.org> [5.14.0-1.el9]\n"
_SUSE = b"-" * 67 + b"\nTue Mar 12 10:11:12 CET 2024 - a@suse.com\n\n"


def _entry(name: str, text: bytes) -> None:
    nasty("changelog", name, None)(lambda: {"changelog": text})


_entry("200,000 blanks in an item", _DEBIAN + b"freplace" + b" " * 200_000 + b"x\n")
_entry("60,000 tags behind an item", _DEBIAN + b"x freplace" + b" [a]" * 60_000 + b"\n")
_entry("250,000 tags before an item", _DEBIAN + b"[a] " * 250_000 + b"\n")
_entry("an item of an RPM with 300,000 blanks", _RPM + b"- a" + b" " * 300_000 + b"b\n")
_entry("an item of an RPM with 200,000 brackets", _RPM + b"- a" + b" (" * 200_000 + b"\n")
_entry("an item of SUSE with 300,000 blanks", _SUSE + b"- a" + b" " * 300_000 + b"b\n")
_entry("an item of SUSE with 100,000 references", _SUSE + b"- a (" + b"bsc#1234567 " * 80_000 + b"\n")
_entry("20,000 entries", (_DEBIAN + b"x\n\n") * 18_000)
_entry("one line of 900,000 letters", _DEBIAN + b"a" * 900_000)
_entry("reverts in reverts", _DEBIAN + b'Revert "' * 100_000 + b"x\n")
_entry("60,000 CVEs", _DEBIAN + b"CVE-2024-47794 " * 60_000 + b"\n")
_entry("a version of 41 digits", _DEBIAN.replace(b"6.1.170-3", b"9" * 40 + b"6.12~rc3-1~exp1") + b"bpf: x\n")
_entry("500,000 short lines of an item", _DEBIAN + b"\n    a" * 150_000)


@nasty("changelog", "3 GB of blanks, compressed")
def _changelog_bomb() -> Case:
    return {"changelog": blanks(3)}


@nasty("changelog", "60 MB of entries", None, small=False)
def _changelog_large() -> Case:
    return {"changelog": (_DEBIAN + b"bpf: something that was mended (Closes: #1)\n\n") * 640_000}


@nasty("changelog", "60 MB of brackets", None, small=False)
def _changelog_brackets() -> Case:
    return {"changelog": _DEBIAN + b"[(" * (30 << 20)}


@nasty("config", "200,000 options", False)
def _config_many() -> Case:
    return {"config": b"".join(b"CONFIG_A%d=y\n" % number for number in range(60_000))}


@nasty("config", "a line of 900,000 letters", None)
def _config_line() -> Case:
    return {"config": b"CONFIG_BPF=y\nCONFIG_A" + b" " * 900_000 + b"=\n"}


@nasty("config", "3 GB of blanks, compressed")
def _config_bomb() -> Case:
    return {"config": blanks(3)}


@nasty("release", "900,000 numbers", None)
def _release_numbers() -> Case:
    return {"release": b"Linux version " + b"6.1." * 20_000}


@nasty("release", "40,000 blanks in a banner", None)
def _release_blanks() -> Case:
    return {"release": b"Linux version 6.1.0-47-amd64 (" + b" " * 40_000 + b"(" * 40_000}


@nasty("system-map", "a million symbols", None, small=False)
def _system_map() -> Case:
    return {
        "System.map": b"".join(b"%016x T f%d\n" % (0xFFFFFFFF81000000 + number, number) for number in range(1_000_000))
    }


# Trees.

HEADER = "include/linux/bpf_verifier.h"
_HEAD = b"static inline enum bpf_prog_type resolve_prog_type(const struct bpf_prog *prog)\n"


def _tree(**files: bytes) -> Case:
    return {"Makefile": makefile("6.1.170"), **{name.replace("__", "/"): data for name, data in files.items()}}


def _header_of(name: str, text: bytes, refused: bool | None = False) -> None:
    nasty("source", name, refused)(lambda: {"Makefile": makefile("6.1.170"), HEADER: text})


_header_of("200,000 blanks between words", b"AB" + b" " * 200_000 + b"x\n")
_header_of("60,000 functions in each other", b"int resolve_prog_type(){\n" * 36_000)
_header_of("400,000 conditions that are not closed", b"#if 1\n#endif\n" + b"#if X\n" * 150_000)
_header_of("150,000 conditions in each other", b"#if X\n" * 75_000 + _HEAD + b"{ return 0; }\n" + b"#endif\n" * 75_000)
_header_of("30,000 conditions in one body", _HEAD + b"{\n" + b"#if X\nx;\n#endif\n" * 50_000 + b"}\n")
_header_of("400,000 brackets", _HEAD + b"{ return " + b"(" * 400_000 + b"1" + b")" * 400_000 + b"; }\n")
_header_of("a condition of 200,000 brackets", b"#if " + b"(" * 200_000 + b"1\n" + _HEAD + b"{ return 0; }\n#endif\n")
_header_of("100,000 macros of the name", b"#define resolve_prog_type(p) 0\n" * 29_000)
_header_of(
    "macros that call each other", b"".join(b"#define M%d(x) M%d(M%d(x))\n" % (n, n + 1, n + 1) for n in range(20_000))
)
_header_of("300,000 line continuations", _HEAD + b"{ return " + b"\\\n" * 300_000 + b"0; }\n")
_header_of("a comment that is not closed", _HEAD + b"{ /*" + b" * /" * 200_000)
_header_of("900,000 quotes", b"'\"" * 450_000)
_header_of("10,000 definitions", (_HEAD + b"{ return 0; }\n") * 9_000)
_header_of("100,000 statements after a return", _HEAD + b"{ return 0;\n" + b"x;\n" * 250_000 + b"}\n")
_header_of("if in if, 50,000 deep", _HEAD + b"{" + b"if(a)" * 150_000 + b";}\n")
_header_of("blocks in blocks, 100,000 deep", _HEAD + b"{" * 100_000 + b"}" * 100_000 + b"\n")
_header_of("an #elif chain of 60,000", b"#if A\n" + b"#elif B\nint x;\n" * 45_000 + _HEAD + b"{ return 0; }\n#endif\n")


@nasty("source", "a pipe and a device in the place of sources", False)
def _tree_special() -> Case:
    return {**_tree(), HEADER: Fifo(), "kernel/bpf/verifier.c": Link("/dev/zero"), "kernel/bpf/arraymap.c": Link(".")}


@nasty("makefile", "900,000 continuations", None)
def _makefile_lines() -> Case:
    return {"Makefile": makefile("6.1.170") + b"A = \\\n" * 150_000}


@nasty("patches", "a patch whose name has a NUL, and one that is a folder", False)
def _patches_names() -> Case:
    series = b"a\0b\nsub\n../x\n/etc/passwd\n" + b"n" * 5000 + b"\n"
    return {**_tree(), "debian/patches/series": series, "debian/patches/sub/x": b""}


@nasty("patches", "100,000 patches", False)
def _patches_many() -> Case:
    names = b"".join(b"p%d\n" % number for number in range(100_000))
    return {**_tree(), "debian/patches/series": names, ".pc/applied-patches": names}


@nasty("patches", "a header of 900,000 subjects", False)
def _patches_header() -> Case:
    patch = b"Subject: bpf\n " + b"\n Subject: x" * 60_000
    return {**_tree(), "debian/patches/series": b"p\n", "debian/patches/p": patch}


# Git repositories.

_MESSAGES = [backport(FIX_6, FIX_6_SUBJECT), f'Revert "{FIX_6_SUBJECT}"\n\nThis reverts commit {FIX_6}.\n']


def _git(name: str, make: Callable[[dict[str, Content]], object], refused: bool | None = None) -> None:
    def case() -> Case:
        files = history(_MESSAGES)
        make(files)
        return files

    nasty("git", name, refused)(case)


def _put(path: str, content: Content) -> Callable[[dict[str, Content]], object]:
    return lambda files: files.update({path: content})


for _place in (*GIT_FILES, "refs/heads/master", "index", "objects/pack/pack-1.idx"):
    _git(f"a pipe as {_place}", _put(_place, Fifo()), refused=True)
_git("shallow is /dev/zero", _put("shallow", Link("/dev/zero")), refused=True)
_git("packed-refs is /dev/zero", _put("packed-refs", Link("/dev/zero")), refused=True)
_git(
    "the configuration includes a pipe",
    lambda files: files.update({"config": b"[include]\n\tpath = pipe\n", "pipe": Fifo()}),
    True,
)
_git("the configuration includes a device", _put("config", b"[core]\n\tbare=true\n[include]\n\tpath=/dev/zero\n"), True)
_git("the configuration includes itself", _put("config", b"[core]\n\tbare=true\n[include]\n\tpath=config\n"))
_git(
    "it borrows objects from a folder with a pipe",
    lambda files: files.update({"objects/info/alternates": b"../o\n", "o/pack/x.idx": Fifo()}),
    True,
)
_git("it borrows objects from itself", _put("objects/info/alternates", b".\n../objects\n"))
_git("a folder that is a link to itself", _put("refs/loop", Link(".")))
_git("200,000 references", _put("packed-refs", b"".join(b"%040x refs/tags/v%d\n" % (n, n) for n in range(18_000))))
_git("200,000 grafts", _put("info/grafts", b"".join(b"%040x\n" % n for n in range(20_000))))
_git("a configuration of 900,000 brackets", _put("config", b"[" * 900_000))


def _head(files: dict[str, Content]) -> str:
    content = files["refs/heads/master"]
    assert isinstance(content, bytes)
    name = content.decode().strip()
    return f"objects/{name[:2]}/{name[2:]}"


def _cut(files: dict[str, Content]) -> None:
    content = files[_head(files)]
    assert isinstance(content, bytes)
    files[_head(files)] = content[:-14]


_git("the commit of HEAD is cut off", _cut, refused=True)
_git("the commit of HEAD is a pipe", lambda files: files.update({_head(files): Fifo()}), refused=True)
_git(
    "the commit of HEAD is a bomb",
    lambda files: files.update({_head(files): zlib.compress(b"commit 999999999\0" + bytes(300 << 20), 9)}),
    True,
)


@nasty("git", "a revert of a fix, and a graft that hides it", None)
def _git_graft() -> Case:
    return history([INTRODUCTION_6_SUBJECT, *_MESSAGES]) | {"info/grafts": b"0" * 40 + b"\n"}
