"""Dumps of netlink: a dump that ends early, or changes meanwhile, is an error and not a short list. A pair of sockets
stands for the kernel.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterator

import pytest

from tailcall_audit.probes.kernel import netlink

_DONE, _ERROR, _NEWLINK, _GETLINK = 3, 2, 16, 18
_MULTI, _INTERRUPTED = 2, 16
_WITHOUT_SCHED = struct.pack("=i", -errno.EOPNOTSUPP) + bytes(16)


def message(kind: int, content: bytes, flags: int = _MULTI) -> bytes:
    return struct.pack("=IHHII", 16 + len(content), kind, flags, 1, 0) + content + bytes(-len(content) % 4)


def link(index: int, program: int) -> bytes:
    """An interface with an XDP program, as rtnl_fill_ifinfo() and rtnl_xdp_fill() write it."""
    inner = struct.pack("=HHI", 8, 4, program)
    return message(_NEWLINK, struct.pack("=BxHiII", 0, 1, index, 0, 0) + struct.pack("=HH", 4 + len(inner), 43) + inner)


DONE = message(_DONE, struct.pack("=i", 0))


@pytest.fixture
def kernel() -> Iterator[tuple[int, Callable[..., None]]]:
    """The line to a kernel, and a function that gives its answers: the data of one read each."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.settimeout(None)

        def answer(*parts: bytes) -> None:
            for part in parts:
                theirs.send(part)

        yield ours.fileno(), answer


def test_a_whole_dump(kernel: tuple[int, Callable[..., None]]) -> None:
    line, answer = kernel
    answer(link(1, 7) + link(2, 0), link(3, 9), DONE)
    assert list(netlink._xdp(line)) == [netlink.LoadedHook(7, "xdp", 1), netlink.LoadedHook(9, "xdp", 3)]


@pytest.mark.parametrize(
    ("answers", "number"),
    [
        # netlink_dump() puts the error that ended a dump into its last message.
        ((link(1, 7), message(_DONE, struct.pack("=i", -errno.EMSGSIZE))), errno.EMSGSIZE),
        ((link(1, 7), message(_ERROR, struct.pack("=i", -errno.EPERM) + bytes(16), 0)), errno.EPERM),
        ((link(1, 7), message(_NEWLINK, bytes(16), _MULTI | _INTERRUPTED), DONE), errno.EINTR),
        ((link(1, 7), message(_DONE, struct.pack("=i", 0), _MULTI | _INTERRUPTED)), errno.EINTR),
        ((link(1, 7)[:-4], DONE), errno.EBADMSG),
        ((struct.pack("=IHHII", 8, _NEWLINK, _MULTI, 1, 0), DONE), errno.EBADMSG),
        ((link(1, 7), b""), errno.EBADMSG),
    ],
    ids=["ended early", "refused", "interrupted", "interrupted at its end", "cut off", "a length of 8", "no end"],
)
def test_a_dump_that_is_not_whole_is_an_error(
    kernel: tuple[int, Callable[..., None]], answers: tuple[bytes, ...], number: int
) -> None:
    line, answer = kernel
    answer(*answers)
    with pytest.raises(OSError, match=r"\w") as raised:
        list(netlink._messages(line, _GETLINK, bytes(16)))
    assert raised.value.errno == number


def test_a_kernel_without_qdiscs_has_no_filters_and_one_that_refuses_later_is_an_error(
    kernel: tuple[int, Callable[..., None]],
) -> None:
    line, answer = kernel
    answer(message(_ERROR, _WITHOUT_SCHED, 0))
    assert list(netlink._parents(line)) == []
    qdisc = message(36, struct.pack("=BxxxiIII", 0, 1, 0xFFFF0000, 0xFFFFFFF1, 1))
    answer(qdisc, message(_ERROR, _WITHOUT_SCHED, 0))
    with pytest.raises(OSError, match="not supported"):
        list(netlink._parents(line))
    answer(qdisc, DONE, message(_ERROR, _WITHOUT_SCHED, 0))
    with pytest.raises(OSError, match="not supported"):
        list(netlink._filters(line))


CHANGING = message(_DONE, struct.pack("=i", 0), _MULTI | _INTERRUPTED)
NOTE = "XDP programs of interfaces cannot be read (they changed meanwhile)"


@pytest.mark.parametrize(
    ("answers", "found", "notes"),
    [
        ([CHANGING, link(1, 7) + DONE], (netlink.LoadedHook(7, "xdp", 1),), []),
        ([CHANGING, CHANGING, CHANGING], (), [NOTE]),
    ],
    ids=["once", "all the time"],
)
def test_what_changes_while_it_is_read_is_read_again(
    monkeypatch: pytest.MonkeyPatch, answers: list[bytes], found: tuple[netlink.LoadedHook, ...], notes: list[str]
) -> None:
    """On a kernel without qdiscs and actions. Each answer is that of a new socket; the first one is only opened and
    closed.
    """
    none = message(_ERROR, _WITHOUT_SCHED, 0)
    lines = iter([DONE, *answers, none, none])
    kept = []

    def connect() -> int:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        theirs.send(next(lines))
        kept.append(theirs)
        return ours.detach()

    monkeypatch.setattr(netlink, "_connect", connect)
    said: list[str] = []
    assert netlink.read_hooks(said) == found
    assert said == notes
    assert list(lines) == []
    for theirs in kept:
        theirs.close()
