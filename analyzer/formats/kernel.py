"""Identifies kernels in documents for other programs: by a unique name, a package URL (purl), and fingerprints.

None of these contains a path. A kernel that is read from another place is the same product with the same findings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import quote

from tailcall_audit.analyzer.model import Report, Skipped, TargetReport, Verdict
from tailcall_audit.analyzer.text import printable

__all__ = [
    "Kernel",
    "Product",
    "Subject",
    "fingerprint",
    "kernel_key",
    "products",
    "severity_number",
    "subjects",
    "with_skipped_nodes",
]

_EXACT = "exact"


class Kernel(NamedTuple):
    """A kernel: its name in a document, its version (of the package or the release) and its architecture (None: not
    known).
    """

    name: str
    version: str
    architecture: str | None


class Product(NamedTuple):
    """A kernel for an architecture, in the form that documents about vulnerabilities use for products: a unique id in
    the document, a title, a purl and a CPE. `cpe` is None unless the version is certainly an upstream release.
    """

    id: str
    title: str
    purl: str
    cpe: str | None


class Subject(NamedTuple):
    """A target of a report, with its identification in a document. `nodes` are the sorted names of those that run it,
    in a report of a list of nodes.
    """

    kernel: Kernel
    target: TargetReport
    nodes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The name of the kernel, and how many nodes run it."""
        count = len(self.nodes)
        return self.kernel.name if not count else f"{self.kernel.name} · {count:,} node{'s' if count > 1 else ''}"

    def node_names(self, most: int) -> str:
        """Returns the names of the nodes that run it, with commas between them; the first `most` of them, and how many
        there are beside these.
        """
        count = len(self.nodes)
        more = f" and {count - most:,} more" if count > most else ""
        return f"{printable(', '.join(self.nodes[:most]))}{more}"

    def nodes_line(self, most: int) -> str | None:
        """Returns how many nodes run it, with the names of the first ones. None if the report has no nodes."""
        count = len(self.nodes)
        if not count:
            return None
        return f"{count:,} node{'s' if count > 1 else ''}: {self.node_names(most)}"


def with_skipped_nodes(report: Report) -> Report:
    """Returns the report with the nodes that could not be judged added to its skipped inputs."""
    nodes = (Skipped(node.name, node.skipped) for node in report.nodes if node.skipped is not None)
    return report._replace(skipped=(*report.skipped, *nodes))


def _plain_name(target: TargetReport) -> str:
    return printable(target.label)


def _version(target: TargetReport) -> str:
    """Returns the version of a kernel as its builders named it: its package, its release or its upstream release,
    otherwise its label.
    """
    identity = target.identity
    known = next((value for key in ("package", "release", "upstream") if (value := identity.get(key))), None)
    return printable(known or _plain_name(target))


def kernel_key(target: TargetReport) -> str:
    """Returns a key that identifies a kernel wherever it is read: its version, flavour and architecture, never
    a path.
    """
    identity = target.identity
    return "|".join((_version(target), identity.get("flavour") or "", identity.get("architecture") or ""))


def fingerprint(target: TargetReport, verdict: Verdict) -> str:
    """Returns the fingerprint of a defect in a kernel (64 hex digits). It is the same in every run and on every
    host.
    """
    words = "|".join((verdict.defect.slug, kernel_key(target), ",".join(verdict.architectures)))
    return hashlib.sha256(words.encode("utf-8", "replace")).hexdigest()


def subjects(report: Report) -> Iterator[Subject]:
    """Yields the targets, each with a unique name. Repeated names get a number."""
    seen: dict[str, int] = {}
    nodes: list[list[str]] = [[] for _ in report.targets]
    for node in report.nodes:
        if node.kernel is not None:
            nodes[node.kernel].append(node.name)
    for target, names in zip(report.targets, nodes, strict=True):
        name = _plain_name(target)
        number = seen[name] = seen.get(name, 0) + 1
        own = name if number == 1 else f"{name} ({number})"
        yield Subject(Kernel(own, _version(target), target.identity.get("architecture")), target, tuple(sorted(names)))


def _cpe(target: TargetReport) -> str | None:
    version = target.identity.get("upstream") or ""
    exact = target.identity.get("proof") == _EXACT and version.replace(".", "").isdigit()
    return f"cpe:2.3:o:linux:linux_kernel:{version}:*:*:*:*:*:*:*" if exact else None


def products(subject: Subject, verdict: Verdict) -> list[Product]:
    """Returns the products that a verdict applies to: the kernel, or the kernel on each of the verdict's
    architectures.
    """
    kernel, target = subject.kernel, subject.target
    found = []
    for name in verdict.architectures or (kernel.architecture,):
        qualifiers = {"arch": name, "distro": target.identity.get("distro")}
        words = "&".join(f"{key}={quote(value, safe='')}" for key, value in qualifiers.items() if value)
        purl = f"pkg:generic/linux@{quote(kernel.version, safe='')}{'?' + words if words else ''}"
        title = f"Linux {kernel.name}{f' on {name}' if name else ''}"
        found.append(Product(f"{kernel.name}{f':{name}' if name else ''}", title, purl, _cpe(target)))
    return found


def severity_number(severity: str) -> str:
    """Returns the lowest CVSS score of a severity class. The score represents the class; no vector was evaluated."""
    return {"critical": "9.0", "high": "7.0", "medium": "4.0"}.get(severity, "1.0")
