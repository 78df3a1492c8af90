"""The form in which a guest sends its results: lines with a checksum, so that console noise in them is noticed.

A frame is ``~TCA NUMBER CHECKSUM HEX``. Anything else on its line is noise.
"""

from __future__ import annotations

from itertools import accumulate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SEPARATOR", "checksum", "frame", "parse", "short"]

SEPARATOR = "\x1f"
MARK = "~TCA "
_MAX_FIELD = 2000
_PRIME = 65521


def checksum(data: bytes) -> int:
    """Adler-32, without zlib: a guest loads as little as it can."""
    lows = [*accumulate(data, initial=1)]
    return (sum(lows) - 1) % _PRIME << 16 | lows[-1] % _PRIME


def short(slug: str) -> str:
    """Returns four digits for a probe on a command line: some kernels take 512 bytes of one."""
    return f"{checksum(slug.encode()) & 0xFFFF:04x}"


def frame(number: int, fields: Sequence[str]) -> bytes:
    """One frame, between line breaks."""
    text = SEPARATOR.join(field.replace(SEPARATOR, " ")[:_MAX_FIELD] for field in fields)
    data = text.encode("utf-8", "replace")
    return f"\n{MARK}{number} {checksum(data):08x} {data.hex()}\n".encode()


def parse(line: bytes) -> tuple[int, list[str]] | None:
    """Returns the number and fields of the frame in a line; None if there is none, or a broken one."""
    text = line.decode("ascii", "replace")
    start = text.find(MARK)
    words = text[start + len(MARK) :].split() if start >= 0 else []
    if len(words) != 3 or not words[0].isdigit() or len(words[0]) > 9 or len(words[1]) != 8:
        return None
    try:
        data = bytes.fromhex(words[2])
        if int(words[1], 16) != checksum(data):
            return None
    except ValueError:
        return None
    return int(words[0]), data.decode("utf-8", "replace").split(SEPARATOR)
