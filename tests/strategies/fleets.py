"""Lists of nodes, logs, root file systems, container images, disks and surveys: whole ones, and what happens to them."""

from __future__ import annotations

import functools
import gzip
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from hypothesis import strategies as st

from tailcall_audit.analyzer.survey.store import to_bytes
from tailcall_audit.analyzer.survey.types import Claim, Kind, State, Survey
from tests.fleet.test_rootfs import BASE, STATUS, debian, layout, ndb, saved
from tests.fleet.volumes import in_partitions, physical_volume
from tests.strategies.archives import PACKERS
from tests.strategies.case import Case, Content, Link
from tests.strategies.images import kernel
from tests.strategies.mutate import draw_mutated

__all__ = ["disk_cases", "nodes_cases", "oci_cases", "root_cases", "survey_cases", "text_cases"]

_KERNELS = st.sampled_from(
    ("6.1.170", "6.1.0-47-amd64", "5.14.0-427.13.1.el9_4.x86_64", "", "x", "9" * 400, "6.1.170 #1 SMP", "\x1b[2J6.1")
)
_NAMES = st.sampled_from(("web-1", "", "a b", "\x1b[2J", "x" * 500, "\u202e", "items"))
_WORDS = (
    b'"items": [',
    b"},\n{",
    b"web-1 | SUCCESS => {",
    b"Linux version 6.1.170",
    b"\t",
    b'"',
    b"BUG: ",
    b"RIP: 0010:f+0/1\n",
)
_VALUES: st.SearchStrategy[object] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | _KERNELS
    | st.sampled_from(("linux", "Linux", "windows")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                (
                    *(
                        "items",
                        "metadata",
                        "status",
                        "nodeInfo",
                        "name",
                        "kernelVersion",
                        "kind",
                        "apiVersion",
                        "architecture",
                    ),
                    *(
                        "ansible_facts",
                        "ansible_kernel",
                        "kernel",
                        "hostvars",
                        "_meta",
                        "plays",
                        "tasks",
                        "hosts",
                        "failed",
                    ),
                    *("hostIdentifier", "columns", "snapshot", "version", "hostname", "livepatch", ""),
                )
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=15,
)


@st.composite
def nodes_cases(draw: st.DrawFn) -> Case:
    """A list of nodes, compressed or not: JSON of any shape, a table, CSV or lines."""
    rows = draw(st.lists(st.tuples(_NAMES, _KERNELS), min_size=1, max_size=5))
    nodes = [
        {"kind": "Node", "metadata": {"name": name}, "status": {"nodeInfo": {"kernelVersion": text}}}
        for name, text in rows
    ]
    texts = {
        "list": json.dumps({"kind": "List", "items": nodes}, indent=draw(st.sampled_from((None, 2)))),
        "lines": "".join(f"{name}\t{text}\n" for name, text in rows),
        "csv": "host,kernel,arch\n" + "".join(f"{name},{text},x86_64\n" for name, text in rows),
        "table": "NAME   KERNEL-VERSION\n" + "".join(f"{name:7.6}{text}\n" for name, text in rows),
        "json": "\n".join(json.dumps(draw(_VALUES)) for _ in rows),
    }
    data = draw_mutated(draw, texts[draw(st.sampled_from(sorted(texts)))].encode("utf-8", "replace"), _WORDS)
    return {"nodes": PACKERS[draw(st.sampled_from(("", "", "", ".gz", ".xz")))](data)}


_LINES = st.sampled_from(
    (
        "Linux version 6.1.0-47-amd64 (a@b) (gcc) #1 SMP Debian 6.1.170-3 (2026-05-08)",
        "[    0.000000] Command line: BOOT_IMAGE=/vmlinuz-6.1.170 ro",
        "[  1.0] BUG: kernel NULL pointer dereference, address: 0000000000000020",
        "[  1.0] CPU: 1 PID: 2 Comm: x Tainted: G    K     6.1.170 #1",
        "[  1.0] RIP: 0010:bpf_prog_map_compatible+0x1a/0x100",
        "[  1.0] Call Trace:",
        "[  1.0]  ? bpf_prog_map_compatible+0x1a/0x100",
        "[  1.0] watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [x:1]",
        "[  1.0] ---[ end trace 0 ]---",
        "kernelVersion: 6.8.0-35-generic",
        "",
    )
)


@st.composite
def text_cases(draw: st.DrawFn) -> Case:
    """A log, compressed or in an archive."""
    data = draw_mutated(draw, "\n".join(draw(st.lists(_LINES, max_size=30))).encode(), _WORDS)
    data = PACKERS[draw(st.sampled_from(("", "", ".gz", ".xz")))](data)
    if draw(st.booleans()):
        data = draw_mutated(draw, _archive({draw(_PLACES): data, "var/log/dmesg": data}))
    return {"log": data}


_PLACES = st.sampled_from(
    (
        *(
            "boot/vmlinuz-6.1.170",
            "boot/config-6.1.0-47-amd64",
            "boot/System.map-6.1.170",
            "boot",
            "lib",
            "lib/modules",
        ),
        *("usr/lib/modules/6.1.170/vmlinuz", "usr/lib/modules/6.6.10/config", "var/lib/dpkg/status", "var/lib/dpkg"),
        *("usr/share/doc/linux-image-6.1.0-47-amd64/changelog.Debian.gz", "var/lib/rpm/Packages", "../../x", "/etc/x"),
        *("usr/lib/sysimage/rpm/Packages.db", "usr/lib/sysimage/rpm/rpmdb.sqlite", "usr/lib/modules/.wh.6.1.170"),
        *("var/.wh..wh..opq", ".wh.", "boot/.wh...", "var/lib/dpkg/.wh.status"),
    )
)
_LINKS = st.sampled_from(
    ("/", "..", "../../../../etc", "/proc/self/root", "lib", "boot", ".", "/dev/zero", "usr/lib", "")
)


@functools.cache
def _contents() -> tuple[bytes, ...]:
    return (
        STATUS.encode(),
        kernel(),
        b"",
        b"CONFIG_64BIT=y\n",
        gzip.compress(b"linux (6.1.170-3) x; urgency=low\n"),
        ndb([bytes(40)]),
    )


@st.composite
def _files(draw: st.DrawFn) -> dict[str, bytes | str]:
    """Files by their paths; a text is where a link leads."""
    found: dict[str, bytes | str] = {}
    for place in draw(st.lists(_PLACES, max_size=8, unique=True)):
        if draw(st.booleans()):
            found[place] = draw_mutated(draw, draw(st.sampled_from(_contents())))
        else:
            found[place] = draw(_LINKS)
    return found


@st.composite
def root_cases(draw: st.DrawFn) -> Case:
    """A root file system with broken files and links that lead anywhere. Places that are within a file are left out."""
    case: dict[str, Content] = {"root/etc/os-release": b"ID=debian\n"}
    for place, content in draw(_files()).items():
        path = f"root/{place.lstrip('/')}"
        taken = any(path.startswith(f"{known}/") or known.startswith(f"{path}/") for known in case)
        if ".." not in place and not taken and content != "":
            case[path] = Link(content) if isinstance(content, str) else content
    return case


def _archive(files: dict[str, bytes | str] | dict[str, bytes], hard: bool = False) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for name, content in files.items():
            item = tarfile.TarInfo(name)
            if isinstance(content, str):
                item.type, item.linkname = tarfile.LNKTYPE if hard else tarfile.SYMTYPE, content
            else:
                item.size = len(content)
            archive.addfile(item, io.BytesIO(content) if isinstance(content, bytes) else None)
    return written.getvalue()


@st.composite
def oci_cases(draw: st.DrawFn) -> Case:
    """A container image of up to three layers, broken in a layer, in its JSON or as a whole."""
    layers = [BASE] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        data = _archive(draw(_files()), draw(st.booleans()))
        data = draw_mutated(draw, data) if draw(st.integers(0, 3)) == 0 else data
        layers.append(PACKERS[draw(st.sampled_from(("", ".gz", ".zst")))](data))
    files = dict(draw(st.sampled_from((layout, saved)))(*layers))
    if draw(st.integers(0, 3)) == 0:
        name = draw(st.sampled_from(sorted(files)))
        files[name] = draw_mutated(draw, files[name], (b'"digest": "sha256:', b'"Layers": [', b"]]"))
    if draw(st.booleans()):
        whole = _archive(files)
        return {"image.tar": draw_mutated(draw, whole) if draw(st.integers(0, 3)) == 0 else whole}
    return {f"image/{name}": data for name, data in files.items()}


_TOOLS = {
    "mke2fs": ("-q", "-t", "ext4", "-d", "{top}", "{image}", "512k"),
    "mksquashfs": ("{top}", "{image}", "-quiet", "-comp", "gzip", "-b", "4096"),
    "xorriso": ("-as", "mkisofs", "-quiet", "-R", "-o", "{image}", "{top}"),
}


@functools.cache
def _disks() -> tuple[bytes, ...]:
    """Whole disks: those that the tools on this machine make, the same in partitions and in a volume of LVM."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        top = debian(Path(name) / "top")
        for tool, arguments in _TOOLS.items():
            program = shutil.which(tool) or shutil.which(tool, path="/usr/sbin:/sbin")
            image = Path(name) / tool
            if program is not None:
                words = [word.format(top=top, image=image) for word in arguments]
                subprocess.run([program, *words], check=True, capture_output=True)
                found.append(image.read_bytes())
    found = found or [bytes(4096)]
    return (
        *found,
        in_partitions(*found),
        physical_volume({"root": found[0]}),
        in_partitions(physical_volume({"a": found[-1]})),
    )


@st.composite
def disk_cases(draw: st.DrawFn) -> Case:
    """An image of a disk with broken bytes, most of them where the headers are."""
    data = draw(st.sampled_from(_disks()))
    start = draw(st.sampled_from((0, 0, 512, 1024, 4096, 4608, 16 * 2048, 18 * 2048, 1 << 20)))
    return {"disk": data[:start] + draw_mutated(draw, data[start : start + 4096]) + data[start + 4096 :]}


@st.composite
def survey_cases(draw: st.DrawFn) -> Case:
    """A survey that a user keeps, of claims of any words, or broken."""
    claim = Claim("a" * 12, draw(st.sampled_from(State)), draw(_KERNELS), draw(_NAMES), branch="6.1")
    survey = Survey(
        draw(st.sampled_from(Kind)), "stable", draw(_NAMES), "2026-11-20", {"6.1": draw(_KERNELS)}, (claim,)
    )
    data = to_bytes(survey)
    return {"stable.json": draw_mutated(draw, data) if draw(st.booleans()) else data}
