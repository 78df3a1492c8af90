"""Recognises a target that was named without an option: by the contents of a file or folder, else as a release string."""

from __future__ import annotations

from tailcall_audit.analyzer.app.commands import COMMANDS
from tailcall_audit.analyzer.errors import did_you_mean
from tailcall_audit.analyzer.model import AuditError
from tailcall_audit.analyzer.paths import Kind, expanded, kind_of
from tailcall_audit.probes.reading import open_file

__all__ = ["recognise"]

_HEAD = 1 << 20
_DEB, _RPM = b"!<arch>\n", b"\xed\xab\xee\xdb"
_IMAGES = (b"\x7fELF", b"MZ", b"\x1f\x8b", b"\xfd7zXZ\0", b"BZh", b"\x28\xb5\x2f\xfd", b"\x02\x21\x4c\x18", b"\x89LZO")
_MARKS = ('"kernelVersion"', '"ansible_kernel"', '"kernel_version"')
_LIST = 1 << 18
_TAR = slice(257, 262)
_JOURNAL = b"LPKSHHRH"
_LAYERS = (b"oci-layout", b"blobs/sha256", b"/layer.tar")
"""Names in the archive of a container image; any other archive is taken for one of logs."""
_MBR = slice(510, 512)


def _kind_of_text(data: bytes) -> str | None:
    if data[_TAR] == b"ustar":
        return "oci" if any(mark in data for mark in _LAYERS) else "text"
    lines = data.splitlines()[:2000]
    if any(line.startswith((b"CONFIG_", b"# CONFIG_")) for line in lines):
        return "config"
    if any(line.startswith(b"Package: ") for line in lines) or b"<repomd" in data[:4096]:
        return "repo"
    if _names_nodes(data):
        return "nodes"
    if _is_log(data):
        return "text"
    if any(line.startswith((b"* ", b"%changelog", b" -- ", b"-" * 60)) for line in lines):
        return "changelog"
    return None


def _names_nodes(data: bytes) -> bool:
    """Returns True for the beginning of a list of nodes. Lines of a name and a kernel look like anything: --nodes says it."""
    from tailcall_audit.analyzer.kernelfiles.nodes.read import NodesForm, form_of

    if b"kernel" not in data[:_LIST].lower() and b"uname" not in data[:_LIST]:
        return False
    text = data[:_LIST].decode("utf-8", "replace")
    return form_of(text) in (NodesForm.TABLE, NodesForm.CSV) or any(mark in text for mark in _MARKS)


def _is_log(data: bytes) -> bool:
    """Returns True for the beginning of a log."""
    if data.startswith(_JOURNAL):
        return True
    return b"\0" not in data[:4096] and (b"Linux version " in data or b" kernel: " in data[:_LIST])


def _unpacked(data: bytes, path: str) -> bytes:
    """Returns the beginning of a file's content, decompressed if it is compressed."""
    import io

    from tailcall_audit.analyzer.kernelfiles.compression import Decompressed

    try:
        return Decompressed(io.BytesIO(data), data[:9], path, 1 << 30).read(1 << 16)
    except (AuditError, OSError, EOFError):
        return data


def _is_disk(data: bytes) -> bool:
    from tailcall_audit.analyzer.kernelfiles.roots.disk import is_disk

    return is_disk(data)


def _is_image(data: bytes) -> bool:
    from tailcall_audit.analyzer.kernelfiles.containers import has_kernel_header

    return has_kernel_header(data)


def _kind_of_file(path: str) -> str:
    try:
        with open_file(path) as file:
            data = file.read(_HEAD)
    except OSError as error:
        raise AuditError(f"{path}: cannot read: {error.strerror or error}") from error
    if data.startswith(_DEB) or data.startswith(_RPM):
        return "package"
    if _is_disk(data):
        return "disk"
    if _is_image(data):
        return "image"
    found = _kind_of_text(_unpacked(data, path))
    if found is not None:
        return found
    if data.startswith(_IMAGES):
        return "image"
    if data[_MBR] == b"\x55\xaa":
        return "disk"
    raise AuditError(
        f"{path}: neither a kernel image, a package, a changelog, a configuration, an index of packages nor a disk;"
        " say what it is: --image, --package, --changelog, --config, --repo, --nodes, --text, --disk"
    )


def _kind_of_folder(path: str) -> str:
    place = expanded(path)
    if (place / "index.json").exists() or (place / "oci-layout").exists():
        return "oci"
    if (place / "etc").is_dir() and ((place / "usr").is_dir() or (place / "lib").exists()):
        return "rootfs"
    if any(
        (place / name).exists()
        for name in ("repodata", "repomd.xml", "Packages", "Packages.xz", "Packages.gz", "dists")
    ):
        return "repo"
    return "tree"


def recognise(name: str) -> str:
    """Returns the kind of a target, which is the name of its option; raises AuditError if it is none."""
    if name.startswith(("http://", "https://")):
        raise AuditError(f"{name}: say what is at this address: --changelog or --repo")
    path = expanded(name)
    kind = kind_of(path)
    if kind is Kind.FOLDER:
        return _kind_of_folder(name)
    if kind is Kind.FILE:
        return _kind_of_file(str(path))
    if any(letter.isdigit() for letter in name) and "/" not in name and not name[0].isalpha():
        return "kernel"
    if name.startswith(("linux-image", "kernel-", "kernel=")):
        return "package"
    if (name[:1] == "v" and name[1:2].isdigit()) or name.startswith(("Linux ", "#")):
        return "kernel"
    meant = did_you_mean(name, (command.name for command in COMMANDS))
    raise AuditError(f"{name}: neither a file, a folder, a kernel release nor a subcommand{meant}")
