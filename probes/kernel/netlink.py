"""Reads which programs are attached to network interfaces by netlink: XDP, filters (cls_bpf) and actions (act_bpf).

Only dump requests (RTM_GET…) are sent, which change nothing. The layouts are those of include/uapi/linux/rtnetlink.h,
if_link.h and pkt_cls.h, in the machine's byte order. Imports only the standard library, because a guest has nothing
else.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from tailcall_audit.probes.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NamedTuple

    class LoadedHook(NamedTuple):
        """An attachment without a link: the program's id, what it is ("xdp", "tc filter", "tc action"), and the index
        of the interface, 0 for an action, which filters of any interface may use.
        """

        program: int
        what: str
        where: int
else:
    LoadedHook = record(__name__, "LoadedHook", ("program", "what", "where"))

__all__ = ["LoadedHook", "read_hooks"]

_NETLINK, _RAW, _ROUTE = 16, 3, 0
_SOL_SOCKET, _SO_RCVTIMEO, _SECONDS = 1, 20, 10
_DUMP = 0x301
"""NLM_F_REQUEST | NLM_F_DUMP."""
_ERROR, _DONE = 2, 3
_INTERRUPTED = 0x10
"""NLM_F_DUMP_INTR: what is dumped has changed meanwhile, so that some of it may be missing."""
_GETLINK, _GETQDISC, _GETTFILTER, _GETACTION = 18, 38, 46, 50
_INGRESS, _MIN_INGRESS, _MIN_EGRESS = 0xFFFF0000, 0xFFFFFFF2, 0xFFFFFFF3
"""The handle of an ingress or clsact qdisc, and the two parents of filters that a clsact qdisc has."""
_XDP, _XDP_IDS = 43, (4, 5, 6, 7)
"""IFLA_XDP, and in it the ids of the program: the only one, and those by the mode (generic, driver, hardware)."""
_KIND, _OPTIONS, _BPF_ID = 1, 2, 11
"""TCA_KIND, TCA_OPTIONS, TCA_BPF_ID."""
_ACT_TAB, _ACT_KIND, _ACT_OPTIONS, _ACT_BPF_ID = 1, 1, 2, 9
_TYPE_MASK = 0x3FFF
"""Removes the flags NLA_F_NESTED and NLA_F_NET_BYTEORDER from the type of an attribute."""
_WITHOUT = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOENT)
"""The errors of a kernel that was built without CONFIG_NET_SCHED, or without act_bpf."""
_MAX_MESSAGES = 1_000_000
_ROOM = 1 << 18
_libc = ctypes.CDLL(None, use_errno=True)


def _connect() -> int:
    """Opens a netlink socket, which gives up waiting after some seconds. Raises OSError."""
    line: int = _libc.socket(_NETLINK, _RAW, _ROUTE)
    if line < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    timeout = struct.pack("=ll", _SECONDS, 0)
    _libc.setsockopt(line, _SOL_SOCKET, _SO_RCVTIMEO, timeout, len(timeout))
    return line


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields type and content of each attribute (struct nlattr)."""
    place = 0
    while place + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, place)
        if length < 4:
            return
        yield kind & _TYPE_MASK, data[place + 4 : place + length]
        place += length + 3 & ~3


def _messages(line: int, kind: int, body: bytes) -> Iterator[bytes]:
    """Yields the messages of a dump without their headers. Raises OSError, also if the dump is not complete."""
    os.write(line, struct.pack("=IHHII", 16 + len(body), kind, _DUMP, 1, 0) + body)
    for _ in range(_MAX_MESSAGES):
        data = os.read(line, _ROOM)
        place = 0
        if len(data) < 16:
            break
        while place + 16 <= len(data):
            length, answer, flags = struct.unpack_from("=IHH", data, place)
            if length < 16 or place + length > len(data):
                raise OSError(errno.EBADMSG, "the answer is cut off")
            if flags & _INTERRUPTED:
                raise OSError(errno.EINTR, "they changed meanwhile")
            content = data[place + 16 : place + length]
            if answer in (_DONE, _ERROR):
                # The last message of a dump has an error number, too: 0, or what ended the dump early.
                number = struct.unpack_from("=i", content)[0] if len(content) >= 4 else 0
                if number < 0:
                    raise OSError(-number, os.strerror(-number))
                return
            yield content
            place += length + 3 & ~3
    raise OSError(errno.EBADMSG, "the answer has no end")


def _unless_missing(messages: Iterator[bytes]) -> Iterator[bytes]:
    """Yields messages; none if the kernel was built without what is asked for."""
    is_first = True
    try:
        for message in messages:
            is_first = False
            yield message
    except OSError as error:
        if not is_first or error.errno not in _WITHOUT:
            raise


def _number(data: bytes) -> int:
    found: int = struct.unpack_from("=I", data.ljust(4, b"\0"))[0]
    return found


def _xdp(line: int) -> Iterator[LoadedHook]:
    """Yields the XDP programs. struct ifinfomsg has 16 bytes, the index at 4."""
    for message in _messages(line, _GETLINK, bytes(16)):
        (where,) = struct.unpack_from("=i", message, 4)
        for kind, content in _attributes(message[16:]):
            if kind == _XDP:
                found = {_number(data) for inner, data in _attributes(content) if inner in _XDP_IDS}
                yield from (LoadedHook(program, "xdp", where) for program in sorted(found - {0}))


def _parents(line: int) -> Iterator[tuple[int, int]]:
    """Yields the interface and the parent of every list of filters. struct tcmsg has 20 bytes: the interface's index at
    4, the handle at 8, the parent at 12.
    """
    for message in list(_unless_missing(_messages(line, _GETQDISC, bytes(20)))):
        where, handle = struct.unpack_from("=iI", message, 4)
        if handle == _INGRESS:
            yield from ((where, parent) for parent in (_MIN_INGRESS, _MIN_EGRESS, _INGRESS))
        else:
            yield where, handle


def _filters(line: int) -> Iterator[LoadedHook]:
    for where, parent in list(_parents(line)):
        for message in _messages(line, _GETTFILTER, struct.pack("=BxxxiIII", 0, where, 0, parent, 0)):
            found = dict(_attributes(message[20:]))
            if found.get(_KIND, b"").rstrip(b"\0") == b"bpf":
                number = _number(dict(_attributes(found.get(_OPTIONS, b""))).get(_BPF_ID, b""))
                if number:
                    yield LoadedHook(number, "tc filter", where)


def _actions(line: int) -> Iterator[LoadedHook]:
    """Yields the programs of BPF actions. struct tcamsg has 4 bytes; the actions are an array below TCA_ACT_TAB."""
    kind = struct.pack("=HH4s", 8, _ACT_KIND, b"bpf\0")
    first = struct.pack("=HH", 4 + len(kind), 1) + kind
    body = bytes(4) + struct.pack("=HH", 4 + len(first), _ACT_TAB) + first
    for message in _unless_missing(_messages(line, _GETACTION, body)):
        for table, content in _attributes(message[4:]):
            for _, action in _attributes(content) if table == _ACT_TAB else ():
                options = dict(_attributes(action)).get(_ACT_OPTIONS, b"")
                number = _number(dict(_attributes(options)).get(_ACT_BPF_ID, b""))
                if number:
                    yield LoadedHook(number, "tc action", 0)


def _whole(read: Callable[[int], Iterator[LoadedHook]], attempts: int = 3) -> list[LoadedHook]:
    """Returns what a reader sees. Reads again if something changed meanwhile. Raises OSError."""
    line = _connect()
    try:
        return list(read(line))
    except OSError as error:
        if error.errno != errno.EINTR or attempts == 1:
            raise
    finally:
        os.close(line)
    return _whole(read, attempts - 1)


def read_hooks(notes: list[str]) -> tuple[LoadedHook, ...]:
    """Returns what netlink attached in this network namespace. What cannot be read is a note."""
    try:
        os.close(_connect())
    except OSError as error:
        notes.append(f"netlink cannot be asked ({error.strerror}): what is attached without a link is not known")
        return ()
    found: dict[LoadedHook, None] = {}
    for what, read in (("XDP programs", _xdp), ("filters", _filters), ("actions", _actions)):
        try:
            found.update(dict.fromkeys(_whole(read)))
        except OSError as error:
            notes.append(f"{what} of interfaces cannot be read ({error.strerror or error})")
    return tuple(found)
