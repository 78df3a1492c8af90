"""Reads the volumes of LVM2. dissect.volume reads the metadata, a text in each physical volume.

Linear volumes, mirrors and thin volumes are read. One that is striped or a RAID, or whose disk is not here, is named
with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import IO, Any

from tailcall_audit.analyzer.kernelfiles.roots.extra import broken, library
from tailcall_audit.analyzer.kernelfiles.roots.root import RootError
from tailcall_audit.analyzer.kernelfiles.roots.volume import Volume, beyond, opened
from tailcall_audit.analyzer.libraries import dissect_errors

__all__ = ["is_physical_volume", "volumes_of"]

_LABEL = b"LABELONE"
_SECTOR, _SECTORS = 512, 4
_MOST_VOLUMES = 500
_SHOWN = "VISIBLE"


def is_physical_volume(stream: IO[bytes]) -> bool:
    """Returns True if there is LVM's label in one of the first four sectors."""
    stream.seek(0)
    head = stream.read(_SECTOR * _SECTORS)
    return any(head.startswith(_LABEL, start) for start in range(0, len(head), _SECTOR))


def _groups(label: str, streams: Sequence[IO[bytes]]) -> Iterator[list[Any]]:
    """Yields the devices of each volume group. A device without metadata may be of any group."""
    device_of = library("dissect.volume.lvm", "LVM2Device")
    with dissect_errors(broken(label)):
        devices = [device_of(stream) for stream in streams]
        texts = [device.metadata or {} for device in devices]
    groups: dict[str, list[Any]] = {}
    mute = [device for device, text in zip(devices, texts, strict=True) if not text]
    for device, text in zip(devices, texts, strict=True):
        for name, value in text.items():
            if isinstance(value, dict):
                groups.setdefault(f"{name} {value.get('id')}", []).append(device)
    for members in groups.values():
        yield [*members, *mute]


def _unreadable(volume: Any) -> str | None:  # noqa: ANN401
    """Returns the reason why the library would not read a volume as it is."""
    for segment in volume.segments:
        if getattr(segment, "stripe_count", 1) != 1 and hasattr(segment, "stripes"):
            return "it is striped over several disks"
        if segment.type.startswith("raid"):
            return f"it is a {segment.type}"
    return None


def _open(label: str, volume: Any) -> Volume:  # noqa: ANN401
    def content() -> IO[bytes]:
        why = _unreadable(volume)
        if why is not None:
            raise RootError(
                f"{label}: {why}, which is not read: activate it, mount it, and audit it as a root file system"
            )
        found: IO[bytes] = volume.open()
        return found

    return opened(label, content)


def volumes_of(label: str, streams: Sequence[IO[bytes]]) -> Iterator[Volume]:
    """Yields the volumes of the groups that physical volumes on one disk are of. Raises RootError if the metadata is
    broken.
    """
    group_of = library("dissect.volume.lvm", "LVM2")
    for devices in _groups(label, streams):
        with dissect_errors(broken(label)):
            group = group_of(devices).volume_group
            name, volumes = str(group.name), list(group.lv)
        if len(volumes) > _MOST_VOLUMES:
            yield Volume(label, beyond(label, _MOST_VOLUMES, f"volumes in {name}"))
        for volume in volumes[:_MOST_VOLUMES]:
            with dissect_errors(broken(label)):
                shown, own = _SHOWN in volume.status, str(volume.name)
            if shown:
                yield _open(f"{label} (volume {name}/{own})", volume)
