"""Controls a running QEMU over two connections: its monitor (QMP), and its debugger stub (gdb's remote protocol)."""

from __future__ import annotations

import json
import select
import socket
import time
from pathlib import Path
from typing import Any

__all__ = ["Debugger", "Monitor", "RemoteError", "packet", "unpacked"]

_PIECE = 1 << 16
_ANSWER = 900.0
"""Seconds within which QEMU must answer a command: on a busy machine the boot to the frozen moment took minutes."""


class RemoteError(RuntimeError):
    """Raised if QEMU has ended, does not answer, or refuses a command."""


def _connected(path: Path, patience: float = _ANSWER) -> socket.socket:
    end = time.monotonic() + patience
    while True:
        line = socket.socket(socket.AF_UNIX)
        try:
            line.connect(str(path))
        except OSError as error:
            line.close()
            if time.monotonic() > end:
                raise RemoteError(f"{path.name}: {error.strerror or error}") from error
            time.sleep(0.02)
        else:
            line.settimeout(_ANSWER)
            return line


class Monitor:
    """QEMU's monitor, in JSON. `events` are the names of the events since the list was last emptied."""

    def __init__(self, path: Path) -> None:
        self._line = _connected(path)
        self._data = b""
        self.events: list[str] = []
        self._take()
        self.run("qmp_capabilities")

    def run(self, command: str, **arguments: str) -> object:
        """Runs a command and returns its answer; raises RemoteError."""
        self._line.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while True:
            message = self._take()
            if "event" in message:
                self.events.append(message["event"])
            elif "error" in message:
                raise RemoteError(f"{command}: {message['error']}")
            else:
                return message.get("return")

    def human(self, line: str) -> None:
        """Runs a command of the human monitor; raises RemoteError if it prints anything."""
        said = self.run("human-monitor-command", **{"command-line": line})
        if said:
            raise RemoteError(f"{line}: {said}")

    def wait(self, seconds: float) -> None:
        """Waits up to some seconds for one message, and records it if it is an event."""
        if b"\n" not in self._data and not select.select([self._line], [], [], seconds)[0]:
            return
        message = self._take()
        if "event" in message:
            self.events.append(message["event"])

    def close(self) -> None:
        """Closes the connection."""
        self._line.close()

    def _take(self) -> dict[str, Any]:
        while b"\n" not in self._data:
            self._data += _received(self._line)
        line, _, self._data = self._data.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message


def packet(data: bytes) -> bytes:
    """Returns a packet of gdb's remote protocol: the data and a checksum."""
    return b"$%s#%02x" % (data, sum(data) & 0xFF)


def unpacked(received: bytes) -> tuple[bytes, bytes] | None:
    """Returns the data of the first packet that was received, and the rest after it; None if no packet is complete."""
    start = received.find(b"$")
    end = received.find(b"#", start)
    if start < 0 or end < 0 or len(received) < end + 3:
        return None
    return received[start + 1 : end], received[end + 3 :]


class Debugger:
    """QEMU's stub for a debugger: reads and writes the memory of a stopped guest by virtual addresses, and sets break
    points.
    """

    def __init__(self, path: Path) -> None:
        self._line = _connected(path)
        self._data = b""

    def read(self, address: int, size: int) -> bytes:
        """Returns bytes of the guest's memory; raises RemoteError if the address is not mapped."""
        answer = self._ask(b"m%x,%x" % (address, size))
        if len(answer) != 2 * size:
            raise RemoteError(f"{address:#x} cannot be read: {answer.decode()}")
        return bytes.fromhex(answer.decode())

    def write(self, address: int, data: bytes) -> None:
        """Writes to the guest's memory, including code; raises RemoteError."""
        answer = self._ask(b"M%x,%x:%s" % (address, len(data), data.hex().encode()))
        if answer != b"OK":
            raise RemoteError(f"{address:#x} cannot be written: {answer.decode()}")

    def run_to(self, address: int) -> None:
        """Lets the guest run until it reaches an address for the first time. Raises RemoteError if QEMU does not
        answer for too long.
        """
        place = b"%x,1" % address
        self._expect(self._ask(b"Z1," + place), b"OK")
        self._drain()
        self._line.sendall(packet(b"c"))
        stopped = self._answer()
        if not stopped.startswith(b"T05"):
            raise RemoteError(f"the guest did not come to {address:#x}: {stopped.decode()}")
        self._expect(self._ask(b"z1," + place), b"OK")

    def close(self) -> None:
        """Closes the connection."""
        self._line.close()

    @staticmethod
    def _expect(answer: bytes, wanted: bytes) -> None:
        if answer != wanted:
            raise RemoteError(f"the debugger's stub says {answer.decode()!r}")

    def _ask(self, data: bytes) -> bytes:
        # The stub reports every stop of the guest by the monitor without a request.
        self._drain()
        self._line.sendall(packet(data))
        answer = self._answer()
        while answer.startswith((b"T0", b"S0")):
            answer = self._answer()
        return answer

    def _drain(self) -> None:
        while select.select([self._line], [], [], 0)[0]:
            self._data += _received(self._line)
        self._data = b""

    def _answer(self) -> bytes:
        while (found := unpacked(self._data)) is None:
            self._data += _received(self._line)
        data, self._data = found
        self._line.sendall(b"+")
        return data


def _received(line: socket.socket) -> bytes:
    try:
        data = line.recv(_PIECE)
    except OSError as error:
        raise RemoteError(f"QEMU does not answer: {error}") from error
    if not data:
        raise RemoteError("QEMU has gone")
    return data
