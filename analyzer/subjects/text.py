"""Kernels that texts name: each once, with the lines that it came from, and the defects that its traces resemble."""

from __future__ import annotations

from collections.abc import Iterator

from tailcall_audit.analyzer.catalog.types import Catalog, Defect
from tailcall_audit.analyzer.kernelfiles.compression import BrokenDataError, Readable
from tailcall_audit.analyzer.kernelfiles.logs.files import Log, LogError, logs_of
from tailcall_audit.analyzer.kernelfiles.logs.names import kernel_named_in
from tailcall_audit.analyzer.kernelfiles.logs.traces import Trace, TraceReader
from tailcall_audit.analyzer.kernelfiles.release.number import build_of
from tailcall_audit.analyzer.kernelfiles.release.parse import parse_release
from tailcall_audit.analyzer.kernelfiles.release.types import KernelRelease, ReleaseError
from tailcall_audit.analyzer.model import AuditError, LivePatches, Skipped, TargetKind
from tailcall_audit.analyzer.subjects.nodes import LIVE_PATCHES_NOTE
from tailcall_audit.analyzer.subjects.subject import Request, Subject, make_subject

__all__ = ["defects_like", "open_subjects"]

_PIECE = 1 << 18
_LINE = 1 << 16
_MOST_KERNELS = 1000
_MOST_PLACES = 3
_MOST_HINTS = 20
_LIVE_TAINT = "K"
"""The letter of a kernel that is live-patched, among those behind ``Tainted:`` (Linux kernel/panic.c)."""


class _Named:
    """A kernel of the texts: where it was named, and its hints."""

    def __init__(self, text: str, release: KernelRelease, build: str | None) -> None:
        self.text, self.release, self.build = text, release, build
        self.places: list[str] = []
        self.count = 0
        self.hints: list[str] = []
        self.live_patched = False

    def is_part_of(self, other: _Named) -> bool:
        """Returns True if the other one says everything that this one does, and more about its build."""
        ours, theirs = self.release, other.release
        if ours.release != theirs.release or other.build is None or ours.package not in (None, theirs.package):
            return False
        number = (self.build or "").partition(" ")[0]
        return len(other.build) > len(self.build or "") and number in ("", other.build.partition(" ")[0])

    def take(self, other: _Named) -> None:
        """Adds the places where another text named the same kernel."""
        self.count += other.count
        self.places += other.places[: _MOST_PLACES - len(self.places)]
        self.hints += other.hints
        self.live_patched |= other.live_patched


def defects_like(catalog: Catalog, trace: Trace) -> tuple[Defect, ...]:
    """Returns the defects of the catalogue with a trace like this one: of the same kind, in one of its functions (`at`)
    and through one of its functions (`through`), where it lists any.
    """
    return tuple(
        defect
        for defect in catalog.defects
        if any(
            trace.kind.value in sign.kinds
            and (not sign.at or trace.at in sign.at)
            and (not sign.through or any(name in sign.through for name in trace.functions))
            for sign in defect.traces
        )
    )


def _lines(content: Readable) -> Iterator[str]:
    left = b""
    while part := content.read(_PIECE):
        *whole, left = (left + part).split(b"\n")
        for line in whole:
            yield line[:_LINE].decode("utf-8", "replace")
        left = left[:_LINE]
    if left:
        yield left.decode("utf-8", "replace")


class _Texts:
    """The kernels and hints that were found in texts so far."""

    def __init__(self, request: Request) -> None:
        self._catalog = request.catalog
        self.kernels: dict[object, _Named] = {}
        self.hints: list[str] = []
        self._parsed: dict[str, _Named | None] = {}

    def read(self, name: str, content: Readable) -> None:
        """Reads one text; raises BrokenDataError and LogError."""
        traces, current = TraceReader(), None
        number = 0
        for number, line in enumerate(_lines(content), 1):
            trace = traces.take(line, number)
            if trace is not None:
                self._hint(trace, name, current)
            named = kernel_named_in(line)
            if named is not None:
                current = self._kernel(named, f"{name}:{number}") or current
                if current is not None and "Tainted:" in line:
                    current.live_patched |= _LIVE_TAINT in line.partition("Tainted:")[2].partition(named[:8])[0]
        trace = traces.end()
        if trace is not None:
            self._hint(trace, name, current)

    def _kernel(self, text: str, place: str) -> _Named | None:
        if text not in self._parsed:
            if len(self._parsed) > 10 * _MOST_KERNELS:
                self._parsed.clear()
            self._parsed[text] = self._new(text)
        found = self._parsed[text]
        if found is not None:
            found.count += 1
            if len(found.places) < _MOST_PLACES:
                found.places.append(place)
        return found

    def _new(self, text: str) -> _Named | None:
        try:
            release = parse_release(text, self._catalog)
        except ReleaseError:
            return None
        build = build_of(text)
        key = (release._replace(text="", notes=()), build)
        if key not in self.kernels and len(self.kernels) >= _MOST_KERNELS:
            raise LogError(f"more than {_MOST_KERNELS:,} different kernels: give a part of it")
        return self.kernels.setdefault(key, _Named(text, release, build))

    def _hint(self, trace: Trace, name: str, current: _Named | None) -> None:
        for defect in defects_like(self._catalog, trace):
            number = f" (pitfall {defect.pitfall})" if defect.pitfall is not None else ""
            text = (
                f"hint: {name}:{trace.line}: this {trace.kind.value.replace('-', ' ')} in {trace.at}() is like the trace of"
                f" {defect.slug}{number}; it is no evidence"
            )
            hints = self.hints if current is None else current.hints
            if len(hints) < _MOST_HINTS:
                hints.append(text)

    def merged(self) -> list[_Named]:
        """Returns the kernels. One that is named without its build, or only with the beginning of it as in an oops, is
        merged into the kernel of that release with a whole build, if there is exactly one.
        """
        found = list(self.kernels.values())
        for named in sorted(found, key=lambda item: len(item.build or "")):
            whole = [item for item in found if item is not named and named.is_part_of(item)]
            if len(whole) == 1:
                whole[0].take(named)
                found.remove(named)
        return found


def _subject(request: Request, named: _Named, lonely: list[str]) -> Subject:
    live = LivePatches.NONE if request.fleet.no_live_patches else LivePatches.UNKNOWN
    live = LivePatches.LOADED if named.live_patched else live
    more = f" and {named.count - len(named.places)} more" if named.count > len(named.places) else ""
    notes = [f"named in {', '.join(named.places)}{more}", *named.hints, *lonely]
    if live is LivePatches.UNKNOWN:
        notes.append(LIVE_PATCHES_NOTE)
    elif live is LivePatches.LOADED:
        notes.append("its log says that live patches were loaded (taint K): nothing here is certain")
    subject = make_subject(
        request,
        TargetKind.RELEASE,
        named.release.release,
        release=named.release,
        architecture=(named.release.architecture, named.places[0]),
        config=request.config,
        notes=notes,
        build=named.build,
        named_in=named.places[0],
        live_patches=live.value,
    )
    return subject._replace(live_patches=live)


def _read(request: Request, texts: _Texts, log: Log) -> Skipped | None:
    request.progress(f"reading {log.name}")
    if log.content is None:
        return Skipped(log.name, log.skipped or "not read")
    try:
        texts.read(log.name, log.content)
    except BrokenDataError as error:
        return Skipped(log.name, str(error))
    return None


def open_subjects(request: Request, name: str) -> Iterator[Subject | Skipped]:
    """Yields every kernel that names itself in a text, a folder or an archive of texts; raises LogError if none does."""
    texts = _Texts(request)
    skipped: list[Skipped] = []
    try:
        skipped += [item for log in logs_of(name) if (item := _read(request, texts, log)) is not None]
    except AuditError as error:
        if not texts.kernels:
            raise
        skipped.append(Skipped(f"the rest of {name}", str(error)))
    if not texts.kernels:
        why = f" ({skipped[0].label}: {skipped[0].reason})" if skipped else ""
        hints = "".join(f"; {hint}" for hint in texts.hints[:_MOST_PLACES])
        raise LogError(f"{name}: no kernel names itself in it{why}{hints}")
    for number, named in enumerate(texts.merged()):
        yield _subject(request, named, texts.hints if number == 0 else [])
    yield from skipped
