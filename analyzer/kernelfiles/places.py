"""The places where distributions put the files of a kernel: its image and its configuration. All readers of packages, of
package databases and of file systems look in the same places.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["IMAGE_NAMES", "MODULES", "config_places", "image_places", "image_release", "is_config", "without_copies"]

MODULES = ("usr/lib/modules", "lib/modules")
"""The folders with a folder for each kernel."""
IMAGE_NAMES = ("vmlinuz", "Image", "image", "vmlinux")
"""The names of images. `Image` is what arm64 and riscv64 boot, `image` what s390x boots at SUSE, and `vmlinux` what
powerpc64 boots; elsewhere a vmlinux is a copy of the kernel for debuggers.
"""
_COPY = "vmlinux"
_NAMES = "|".join(IMAGE_NAMES)
_IMAGE = re.compile(
    rf"(?:boot/(?:{_NAMES})-([^/]+?)|(?:usr/)?lib/modules/([^/]+)/(?:{_NAMES}))(?:\.(?:gz|xz|zst))?", re.ASCII
)
_CONFIG = re.compile(r"(?:boot/config-[^/]+|(?:usr/)?lib/modules/[^/]+/config)")


def image_release(place: str) -> str | None:
    """Returns the release in the path of an image, which has no leading slash; None if it is no place of an image."""
    match = _IMAGE.fullmatch(place)
    return None if match is None else match.group(1) or match.group(2)


def is_config(place: str) -> bool:
    """Returns True if a path without a leading slash is a place of a configuration."""
    return _CONFIG.fullmatch(place) is not None


def image_places(release: str) -> tuple[str, ...]:
    """Returns the places of the image of a release, the most usual first."""
    return tuple(
        place
        for name in IMAGE_NAMES
        for place in (f"boot/{name}-{release}", *(f"{folder}/{release}/{name}" for folder in MODULES))
    )


def config_places(release: str) -> tuple[str, ...]:
    """Returns the places of the configuration of a release, the most usual first."""
    return (f"boot/config-{release}", *(f"{folder}/{release}/config" for folder in MODULES))


def without_copies(places: Iterable[str]) -> list[str]:
    """Returns the places of images without each vmlinux that lies beside the image of the same release."""
    every = list(places)
    booted = {image_release(place) for place in every if not _is_copy(place)}
    return [place for place in every if not _is_copy(place) or image_release(place) not in booted]


def _is_copy(place: str) -> bool:
    return place.rpartition("/")[2].startswith(_COPY)
