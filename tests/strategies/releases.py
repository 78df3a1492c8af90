"""What names a kernel: ``uname -r``, banners, package names, lines of logs; and a System.map."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.strategies.case import Case
from tests.strategies.mutate import mutated

__all__ = ["BANNERS", "RELEASES", "SYSTEM_MAPS", "release_cases", "system_map_cases"]

_NUMBERS = st.tuples(st.integers(2, 8), st.integers(0, 20), st.integers(0, 300)).map(lambda it: ".".join(map(str, it)))
_SUFFIXES = st.sampled_from(
    (
        "",
        "-rc3",
        "-47-amd64",
        "+deb13-cloud-amd64",
        "-35-generic",
        "-1052-azure",
        "-427.13.1.el9_4.x86_64",
        "-150600.23.7-default",
        "-200.fc40.x86_64",
        ".arch1-1",
        "-android14-11-g5ba1d2f0d7e2-ab123",
        ".amzn2023.x86_64",
        "-microsoft-standard-WSL2",
        "-gke.1",
        "-dirty",
        "-pve",
    )
)
RELEASES = st.builds(str.__add__, _NUMBERS, _SUFFIXES)
BANNERS = st.builds(
    "Linux version {} ({}) ({}) {}".format,
    RELEASES,
    st.sampled_from(("debian-kernel@lists.debian.org", "buildd@lcy02", "root@x", "mockbuild@build")),
    st.sampled_from(
        (
            "gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40",
            "clang version 17",
            "gcc version 11.4.0 (Ubuntu 11.4.0-1ubuntu1~22.04), 13.2",
        )
    ),
    st.sampled_from(
        (
            "#1 SMP PREEMPT_DYNAMIC Debian 6.1.170-3 (2026-03-12)",
            "#36-Ubuntu SMP PREEMPT_DYNAMIC Mon Jun 10 10:49:14 UTC 2024",
            "#1 SMP Tue Jan 2 03:04:05 UTC 2024",
            "#2",
        )
    ),
)
_LINES = st.one_of(
    RELEASES,
    BANNERS,
    st.builds("[    0.000000] {}".format, BANNERS),
    st.builds("linux-image-{}".format, RELEASES),
    st.builds("kernel-core-{}".format, RELEASES),
    st.builds("CPU: 1 PID: 77 Comm: x Tainted: G {} #1 Debian {}".format, RELEASES, _NUMBERS),
    st.builds('{{"nodeInfo": {{"kernelVersion": "{}"}}}}'.format, RELEASES),
    st.builds("Darwin host {} Darwin Kernel Version".format, _NUMBERS),
)
_TEXTS = st.lists(_LINES, min_size=1, max_size=4).map(lambda lines: "\n".join(lines).encode())
SYSTEM_MAPS = st.lists(
    st.builds(
        "{:016x} {} {}".format,
        st.integers(0xFFFFFFFF81000000, 0xFFFFFFFF81FFFFFF),
        st.sampled_from("tTwWdDA?"),
        st.sampled_from(
            ("bpf_check", "resolve_prog_type", "do_jit", "do_jit.isra.0", "bpf_prog_map_compatible.cold", "x")
        ),
    ),
    max_size=30,
).map(lambda lines: "\n".join(lines).encode())


def release_cases() -> st.SearchStrategy[Case]:
    """A text that names a kernel."""
    return mutated(_TEXTS, (b"Linux version ", b"6.1.0-", b"#1 SMP", b".el9", b"Debian ", b"kernelVersion")).map(
        lambda data: {"release": data}
    )


def system_map_cases() -> st.SearchStrategy[Case]:
    """A System.map."""
    return mutated(SYSTEM_MAPS).map(lambda data: {"System.map": data})
