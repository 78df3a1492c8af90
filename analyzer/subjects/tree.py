"""The audit of a kernel tree: code, history, patch queues and version, each cited."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import pygit2

from tailcall_audit.analyzer.kernelfiles.kconfig import KernelConfig, read_config
from tailcall_audit.analyzer.kernelfiles.makefile import TreeIdentity, identity_from_history, read_identity
from tailcall_audit.analyzer.kernelfiles.tree_files import BlobReader, ReadState, blob_id
from tailcall_audit.analyzer.libraries import pygit2_errors
from tailcall_audit.analyzer.model import Confidence, TargetKind, TargetReport
from tailcall_audit.analyzer.paths import expanded, is_file
from tailcall_audit.analyzer.readers.history import History, read_history
from tailcall_audit.analyzer.readers.patches import read_patch_queue
from tailcall_audit.analyzer.subjects.locate_tree import KernelTree, TreeError, open_tree
from tailcall_audit.analyzer.subjects.schemes import Proof
from tailcall_audit.analyzer.subjects.target import Target, identity_of

if TYPE_CHECKING:
    from tailcall_audit.analyzer.readers.source import SourceReader

__all__ = ["audit_tree"]


class _Walk(threading.Thread):
    """Reads the history of a tree beside the rest; a tree without one has none to read."""

    def __init__(
        self, target: Target, tree: KernelTree, identity: TreeIdentity, progress: Callable[[str], None]
    ) -> None:
        super().__init__(daemon=True)
        self._target, self._tree, self._identity, self._progress = target, tree, identity, progress
        self._history: History | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Read it, with a handle of its own: one of libgit2 belongs to one thread."""
        if self._tree.repository is None or self._tree.commit is None:
            return
        try:
            with pygit2_errors(
                lambda words: TreeError(f"{self._tree.root}: its git repository cannot be opened: {words}")
            ):
                repository = pygit2.Repository(self._tree.repository.path)
            self._history = read_history(
                self._target.catalog, repository, str(self._tree.commit.id), self._identity.version, self._progress
            )
        except BaseException as error:  # handed to the thread that asked
            self._error = error

    def outcome(self) -> History | None:
        """The history that was read, or the error that ended the reading."""
        if self._error is not None:
            raise self._error
        return self._history


def _changed_files(tree: KernelTree, source: SourceReader, paths: tuple[str, ...]) -> list[str]:
    """The files that matter in which the disk differs from HEAD."""
    if not tree.on_disk or tree.repository is None or tree.commit is None:
        return []
    head = BlobReader(tree.repository, tree.commit)
    changed = []
    for path in (*paths, "Makefile"):
        committed = head.entry_id(path)
        read = source.file(path)
        if committed is None or read.state is ReadState.UNREADABLE:
            continue
        if read.state is ReadState.MISSING or blob_id(read.data) != committed:
            changed.append(path)
    return changed


def _tree_config(tree: KernelTree, config: KernelConfig | None) -> KernelConfig | None:
    """The configuration given, else the tree's own .config; that of another revision is not taken."""
    own = tree.root / ".config"
    if config is not None or not tree.on_disk or own.is_symlink() or not is_file(own):
        return config
    return read_config(own)


def _identify(target: Target, tree: KernelTree) -> TreeIdentity:
    identity = read_identity(tree.files)
    makefile = tree.files.read("Makefile")
    if (
        identity is None
        and makefile.state is ReadState.UNREADABLE
        and tree.repository is not None
        and tree.commit is not None
    ):
        identity = identity_from_history(tree.repository, str(tree.commit.id))
    if identity is None:
        why = makefile.reason or "no VERSION and PATCHLEVEL in it"
        raise TreeError(f"{tree.root}: cannot tell the kernel version from its Makefile: {why}")
    target.notes += [*identity.notes, *tree.notes]
    return identity


def audit_tree(
    target: Target, path: str, rev: str | None, config: KernelConfig | None, progress: Callable[[str], None]
) -> TargetReport:
    """Audit the tree at `path`; raises TreeError, or ConfigError for its .config."""
    progress(f"opening {path}")
    tree = open_tree(path, rev)
    identity = _identify(target, tree)
    used = _tree_config(tree, config)
    walk = _Walk(target, tree, identity, progress)
    walk.start()
    # git walks in a process of its own, so the code is read, and the C parser loaded, in the time that it takes.
    from tailcall_audit.analyzer.readers.source import SourceReader, signature_files

    source = SourceReader(tree.files, progress, identity.version)
    target.evidence += source.evidence(target.catalog)
    walk.join()
    history = walk.outcome()
    if history is not None:
        target.evidence += history.evidence
        target.notes += history.notes
        changed = _changed_files(tree, source, signature_files(target.catalog))
        if changed:
            target.notes.append(f"files that matter differ from HEAD; what is on disk is audited: {', '.join(changed)}")
    queue = read_patch_queue(target.catalog, tree.files, identity.version.branch)
    target.evidence += queue.evidence
    target.notes += queue.notes
    # A tree may have any patch on top of the version that its Makefile names: what that release has is in it, the rest is open.
    release = identity.release._replace(
        proof=Proof.PATCHED, vanilla_like=identity.vanilla_like, distro=identity.distro or "a tree", notes=()
    )
    target.release_facts(release, Confidence.MEDIUM)
    architecture = target.arch if used is None else target.architecture(used.architecture, used.path)
    if architecture is None:
        target.notes.append(
            "a source tree has no architecture: judged for all that a defect has; --arch or a .config names one"
        )
    speaks = target.speaks(used, identity.release, architecture)
    facts = identity_of(
        identity.release,
        architecture,
        distro=identity.distro,
        proof=None,
        root=str(tree.root),
        commit=None if tree.commit is None else str(tree.commit.id),
        rev=tree.rev,
    )
    return target.report(str(expanded(path)), TargetKind.TREE, facts, used, speaks)
