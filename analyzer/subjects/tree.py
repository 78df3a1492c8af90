"""A kernel tree as a subject: unpacked sources or a git repository."""

from __future__ import annotations

from collections.abc import Iterator

from tailcall_audit.analyzer.catalog.distribution import Proof
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.errors import parameter
from tailcall_audit.analyzer.kernelfiles.kconfig import KernelConfig, read_config
from tailcall_audit.analyzer.kernelfiles.makefile import TreeIdentity, identity_from_history, read_identity
from tailcall_audit.analyzer.kernelfiles.tree_files import ReadState
from tailcall_audit.analyzer.model import Confidence, TargetKind
from tailcall_audit.analyzer.paths import expanded, is_file
from tailcall_audit.analyzer.subjects.git_repository import TreeError
from tailcall_audit.analyzer.subjects.locate_tree import KernelTree, NoKernelTreeError, open_tree
from tailcall_audit.analyzer.subjects.patch_folder import patch_subject
from tailcall_audit.analyzer.subjects.subject import OpenTree, Parts, Request, Subject, make_subject

__all__ = ["open_subjects"]


def _tree_config(tree: KernelTree, config: KernelConfig | None, catalog: Catalog) -> KernelConfig | None:
    """Returns the configuration given, else the tree's own .config; that of another revision is not taken."""
    own = tree.root / ".config"
    if config is not None or not tree.on_disk or own.is_symlink() or not is_file(own):
        return config
    return read_config(own, catalog)


def _identify(tree: KernelTree, catalog: Catalog) -> TreeIdentity:
    """Returns what the Makefile says, or the history where the Makefile cannot be read; raises TreeError."""
    identity = read_identity(tree.files, catalog)
    makefile = tree.files.read("Makefile")
    if (
        identity is None
        and makefile.state is ReadState.UNREADABLE
        and tree.repository is not None
        and tree.commit is not None
    ):
        identity = identity_from_history(tree.repository, str(tree.commit.id), catalog)
    if identity is None and makefile.state is ReadState.UNREADABLE and tree.commit is not None:
        note = (
            f"the version is unknown: the Makefile could not be read ({makefile.reason}), and no commit names a release"
        )
        return TreeIdentity(None, None, True, (note,))
    if identity is None:
        why = makefile.reason or "no VERSION and PATCHLEVEL in it"
        raise TreeError(f"{tree.root}: its Makefile does not give the kernel version: {why}")
    return identity


def open_subjects(request: Request, path: str) -> Iterator[Subject]:
    """Yields the kernel of the tree at `path`; raises TreeError, or ConfigError for its .config."""
    request.progress(f"opening {path}")
    try:
        tree = open_tree(path, request.rev)
    except NoKernelTreeError as error:
        subject = patch_subject(request, str(expanded(path)), error.files, request.rev)
        if subject is None:
            raise
        yield subject
        return
    identity = _identify(tree, request.catalog)
    config = _tree_config(tree, request.config, request.catalog)
    # A tree may have any patch on top of its Makefile's version: it has what that release has, and the rest is open.
    proven = identity.release and identity.release._replace(
        proof=Proof.PATCHED, vanilla_like=identity.vanilla_like, distro=identity.distro or "a tree", notes=()
    )
    notes = [*identity.notes, *tree.notes]
    if request.arch is None and (config is None or config.architecture is None):
        notes.append(
            "a source tree has no architecture: judged for all that a defect has;"
            f" {parameter('arch')} or a .config names one"
        )
    yield make_subject(
        request,
        TargetKind.TREE,
        str(expanded(path)),
        release=identity.release,
        proven=proven,
        confidence=Confidence.MEDIUM,
        architecture=(None, "") if config is None else (config.architecture, config.path),
        config=config,
        parts=Parts(tree=OpenTree(tree, identity)),
        notes=notes,
        distro=identity.distro,
        proof=None,
        root=str(tree.root),
        commit=None if tree.commit is None else str(tree.commit.id),
        rev=tree.rev,
    )
