"""Git repositories byte by byte: loose objects, refs packed and loose, shallow and grafts, and all of it broken."""

from __future__ import annotations

import hashlib
import zlib

from hypothesis import strategies as st

from tests.repositories import FIX_6, FIX_6_SUBJECT, GIT_FILES, INTRODUCTION_6_SUBJECT, backport, makefile
from tests.strategies.case import Case, Content, Fifo, Link
from tests.strategies.mutate import draw_mutated

__all__ = ["Objects", "history", "repository_cases"]

_CONFIG = b"[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n"
_WHO = "A Developer <dev@example.org> {} +0000"


class Objects:
    """Loose objects by their paths below the git directory."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def add(self, kind: str, data: bytes) -> str:
        """Adds an object and returns its id."""
        raw = f"{kind} {len(data)}\0".encode() + data
        name = hashlib.sha1(raw, usedforsecurity=False).hexdigest()
        self.files[f"objects/{name[:2]}/{name[2:]}"] = zlib.compress(raw, 1)
        return name

    def commit(self, message: str, tree: str, parents: list[str], when: int) -> str:
        """Adds a commit and returns its id."""
        who = _WHO.format(1_600_000_000 + 60 * when)
        lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents), f"author {who}", f"committer {who}"]
        return self.add("commit", ("\n".join(lines) + f"\n\n{message}").encode())

    def tree(self, files: dict[str, bytes]) -> str:
        """Adds a tree of plain files and returns its id."""
        rows = ((name, self.add("blob", data)) for name, data in sorted(files.items()))
        return self.add("tree", b"".join(f"100644 {name}\0".encode() + bytes.fromhex(blob) for name, blob in rows))


def history(messages: list[str], bare: str = "") -> dict[str, Content]:
    """A repository below `bare` with v6.1 tagged and these commits behind it, HEAD at the last; its Makefile says
    6.1.170.
    """
    objects = Objects()
    head = objects.commit("Linux 6.1\n", objects.tree({"Makefile": makefile("6.1")}), [], 0)
    tag = head
    tree = objects.tree({"Makefile": makefile("6.1.170")})
    for number, message in enumerate(messages, 1):
        head = objects.commit(message, tree, [head], number)
    files: dict[str, Content] = {
        "HEAD": b"ref: refs/heads/master\n",
        "config": _CONFIG,
        "refs/heads/master": f"{head}\n".encode(),
        "packed-refs": f"# pack-refs with: peeled fully-peeled sorted\n{tag} refs/tags/v6.1\n".encode(),
        **objects.files,
    }
    return {f"{bare}{name}": content for name, content in files.items()}


_MESSAGES = st.sampled_from(
    (
        backport(FIX_6, FIX_6_SUBJECT),
        backport("1c123c567fb138ebd187480b7fc0610fcb0851f5", INTRODUCTION_6_SUBJECT),
        f'Revert "{FIX_6_SUBJECT}"\n\nThis reverts commit {FIX_6}.\n',
        "Linux 6.1.170\n",
        "x\n",
        "",
        "(cherry picked from commit " * 20,
    )
)
_META = (*GIT_FILES, "refs/replace/x")
_LINES = (
    b"[include]\n\tpath = config\n",
    b"[core]\n\tfsmonitor = touch RAN\n",
    b"[extensions]\n\tpartialclone = x\n",
    b"ref: refs/heads/master\n",
    b"../objects\n",
    b"0" * 40,
)


@st.composite
def repository_cases(draw: st.DrawFn) -> Case:
    """A bare repository of which files are broken, replaced by pipes and links, or added."""
    case = history(draw(st.lists(_MESSAGES, min_size=1, max_size=4)))
    for _ in range(draw(st.integers(0, 3))):
        name = draw(
            st.sampled_from((*_META, *(name for name in case if name.startswith("objects/") and len(name) > 40)))
        )
        kind = draw(st.sampled_from(("mutate", "mutate", "truncate", "fifo", "link", "lines", "gone")))
        content = case.get(name, b"")
        if kind == "fifo":
            case[name] = Fifo()
        elif kind == "link":
            case[name] = Link(draw(st.sampled_from(("/dev/zero", "config", "/etc/passwd", "missing", "."))))
        elif kind == "gone":
            case.pop(name, None)
        elif isinstance(content, bytes):
            if kind == "truncate":
                case[name] = content[: draw(st.integers(0, max(0, len(content) - 1)))]
            else:
                added = draw(st.sampled_from(_LINES)) if kind == "lines" else b""
                case[name] = draw_mutated(draw, content + added, _LINES)
    return case
