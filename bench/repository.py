"""Makes and caches a repository of the kernel's shape and size: 1.3 million commits, 36,000 on a stable branch."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.kernels import cache_directory, kernel_source

MAINLINE_COMMITS = 1_300_000
STABLE_COMMITS = 36_000
RELEASES = 78
TOPICS = 60
_WORDS = [
    "net",
    "mm",
    "bpf",
    "drm",
    "usb",
    "scsi",
    "btrfs",
    "ext4",
    "arm64",
    "x86",
    "riscv",
    "iommu",
    "sched",
    "locking",
    "nfs",
    "xfs",
    "block",
    "wifi",
    "media",
    "sound",
    "fix",
    "use",
    "after",
    "free",
    "handle",
    "error",
    "path",
    "check",
    "return",
    "value",
    "before",
    "lock",
    "in",
    "probe",
    "remove",
]
FIX = "d6083f040d5d8f8d748462c77e90547097df936e"


def _message(rng: random.Random, number: int, size: int) -> bytes:
    words = rng.choices(_WORDS, k=size)
    lines = [" ".join(words[start : start + 11]) for start in range(8, size, 11)]
    return (
        f"{words[0]}: {' '.join(words[1:8])} {number}\n\n"
        + "\n".join(lines)
        + f'\n\nFixes: {rng.getrandbits(48):012x} ("{words[2]}: {words[3]}")\n'
        f"Signed-off-by: Some Developer <dev{number % 900}@example.org>\nSigned-off-by: A Maintainer <maintainer@example.org>\n"
    ).encode()


class _Stream:
    """Writes a git fast-import stream."""

    def __init__(self, out: object) -> None:
        self.write = out.write  # type: ignore[attr-defined]
        self.mark = 0
        self.time = 1_100_000_000

    def commit(self, ref: str, message: bytes, parents: list[int], files: dict[str, bytes] | None = None) -> int:
        self.mark += 1
        self.time += 300
        who = b"A Developer <dev@example.org> %d +0000" % self.time
        self.write(
            b"commit %s\nmark :%d\nauthor %s\ncommitter %s\ndata %d\n%s\n"
            % (ref.encode(), self.mark, who, who, len(message), message)
        )
        for word, parent in zip((b"from", b"merge", b"merge"), parents, strict=False):
            self.write(b"%s :%d\n" % (word, parent))
        for path, data in (files or {}).items():
            self.write(b"M 100644 inline %s\ndata %d\n%s\n" % (path.encode(), len(data), data))
        self.write(b"\n")
        return self.mark

    def tag(self, name: str) -> None:
        self.write(b"reset refs/tags/%s\nfrom :%d\n\n" % (name.encode(), self.mark))


def _files(makefile: tuple[int, int, int]) -> dict[str, bytes]:
    source, _ = kernel_source("6.1", "6.1.170-3")
    found = {
        str(path.relative_to(source)): path.read_bytes()
        for path in source.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }
    head = b"VERSION = %d\nPATCHLEVEL = %d\nSUBLEVEL = %d\nEXTRAVERSION =\n" % makefile
    found["Makefile"] = head + b"KERNELVERSION = $(VERSION).$(PATCHLEVEL).$(SUBLEVEL)\n"
    return found


def _releases() -> Iterator[str]:
    for number in range(RELEASES):
        yield f"{2 + number // 20}.{number % 20}" if number < RELEASES - 1 else "6.1"


def _write(out: object) -> None:
    rng = random.Random(1)
    stream = _Stream(out)
    top = stream.commit("refs/heads/master", b"Linux 2.6.12-rc2\n", [], _files((6, 1, 0)))
    per_topic = MAINLINE_COMMITS // RELEASES // TOPICS
    pool = [_message(rng, number, rng.randint(40, 110)) for number in range(4000)]
    for release in _releases():
        base = top
        for topic in range(TOPICS):
            tip = base
            for number in range(per_topic - 1):
                tip = stream.commit(
                    "refs/heads/topic", pool[(topic * 977 + number * 31 + stream.mark) % len(pool)], [tip]
                )
            top = stream.commit(
                "refs/heads/master",
                b"Merge tag 'topic-%d' of git://example.org/linux\n\nPull %d.\n" % (topic, topic),
                [top, tip],
            )
        top = stream.commit("refs/heads/master", f"Linux {release}\n".encode(), [top])
        stream.tag(f"v{release}")
    for number in range(1, STABLE_COMMITS + 1):
        if number == STABLE_COMMITS // 2:
            message = f"bpf: Prevent tailcall infinite loop caused by freplace\n\n[ Upstream commit {FIX} ]\n\nSigned-off-by: A <a@example.org>\n".encode()
        else:
            body = pool[number % len(pool)].split(b"\n\n", 1)
            message = (
                body[0]
                + b"\n\n[ Upstream commit %040x ]\n\n" % rng.getrandbits(160)
                + body[1]
                + b"Signed-off-by: Sasha Levin <sashal@kernel.org>\n"
            )
        top = stream.commit("refs/heads/stable", message, [top])
    stream.commit("refs/heads/stable", b"Linux 6.1.170\n", [top], _files((6, 1, 170)))


def kernel_shaped_repository() -> Path:
    """Returns the cached bare repository, with HEAD on the stable branch. The first call makes it, which takes some
    minutes.
    """
    target = cache_directory() / f"bench-{MAINLINE_COMMITS}-{STABLE_COMMITS}.git"
    if (target / "complete").exists():
        return target
    shutil.rmtree(target, ignore_errors=True)
    print(f"making a repository of {MAINLINE_COMMITS:,} commits in {target} (once)", file=sys.stderr)
    subprocess.run(["git", "init", "-q", "--bare", str(target)], check=True)
    with subprocess.Popen(
        ["git", f"--git-dir={target}", "fast-import", "--quiet", "--force"], stdin=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        _write(process.stdin)
        process.stdin.close()
        if process.wait() != 0:
            raise SystemExit("git fast-import failed")
    subprocess.run(["git", f"--git-dir={target}", "symbolic-ref", "HEAD", "refs/heads/stable"], check=True)
    subprocess.run(["git", f"--git-dir={target}", "branch", "-D", "topic"], check=False, capture_output=True)
    subprocess.run(["git", f"--git-dir={target}", "pack-refs", "--all"], check=True)
    (target / "complete").touch()
    return target
