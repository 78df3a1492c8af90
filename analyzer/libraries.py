"""One adapter a library: within it, whatever the library raises on bad input becomes one of this tool's errors.

Libraries document few of the errors that broken data makes them raise: a header that lies surfaces as whatever their
code trips over. So an adapter takes every exception, and stands around calls of its library only, never around this
tool's own code.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

__all__ = [
    "Failure",
    "capstone_errors",
    "compression_errors",
    "debian_errors",
    "dissect_errors",
    "elftools_errors",
    "jsonschema_errors",
    "parse_json",
    "pygit2_errors",
    "requests_errors",
    "tar_errors",
    "xml_errors",
]

Failure = Callable[[str], Exception]
"""Makes the error to raise from the words of the library's own."""


@contextmanager
def _adapted(fail: Failure, also: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """`also` are errors that pass through: this tool's own, raised by a stream that the library reads from."""
    from tailcall_audit.analyzer.errors import AuditError

    ours: tuple[type[Exception], ...] = (AuditError, *also)
    try:
        yield
    except ours:
        raise
    except Exception as error:
        raise fail(str(error).strip() or type(error).__name__) from error


def compression_errors(fail: Failure) -> AbstractContextManager[None]:
    """backports.zstd, bz2, gzip, lz4, lzallright, lzma and zlib: OSError, EOFError, ValueError, RuntimeError,
    MemoryError and each its own.
    """
    return _adapted(fail)


def tar_errors(fail: Failure) -> AbstractContextManager[None]:
    """tarfile: TarError, and on headers that lie ValueError, OverflowError, KeyError and UnicodeError too."""
    return _adapted(fail)


def debian_errors(fail: Failure) -> AbstractContextManager[None]:
    """python-debian: ArError, DebError, and on broken members and versions KeyError, ValueError, IndexError and
    TypeError.
    """
    return _adapted(fail)


def elftools_errors(fail: Failure) -> AbstractContextManager[None]:
    """pyelftools: ELFError, and on headers that lie ValueError, KeyError, AttributeError, OverflowError, MemoryError
    and UnicodeError.
    """
    return _adapted(fail)


def capstone_errors(fail: Failure) -> AbstractContextManager[None]:
    """capstone: CsError."""
    return _adapted(fail)


def dissect_errors(fail: Failure) -> AbstractContextManager[None]:
    """dissect: each library's own Error, and on broken metadata EOFError, ValueError, IndexError, struct.error and
    others.
    """
    return _adapted(fail)


def pygit2_errors(fail: Failure) -> AbstractContextManager[None]:
    """pygit2: GitError, KeyError, ValueError and OSError for one and the same, by its version."""
    return _adapted(fail)


def xml_errors(fail: Failure) -> AbstractContextManager[None]:
    """expat: ExpatError, and ValueError and LookupError for encodings that it does not know."""
    return _adapted(fail)


def requests_errors(fail: Failure, *also: type[Exception]) -> AbstractContextManager[None]:
    """requests: beside its RequestException those of urllib3, http.client and UnicodeError (a Location that is no
    UTF-8) get through.

    `also` are raised as they are.
    """
    return _adapted(fail, also)


def jsonschema_errors(fail: Failure) -> AbstractContextManager[None]:
    """jsonschema: RecursionError on data that is nested deeper than Python's stack."""
    return _adapted(fail)


def parse_json(data: bytes, fail: Callable[[str, str], Exception]) -> object:
    """Returns what a JSON text holds; raises what `fail` makes of ``:LINE:COLUMN`` ("" where it is not known) and a
    reason.

    json raises JSONDecodeError, UnicodeDecodeError, ValueError (an integer of more digits than Python converts) and
    RecursionError.
    """
    try:
        found: object = json.loads(data)
    except json.JSONDecodeError as error:
        raise fail(f":{error.lineno}:{error.colno}", str(error)) from error
    except (ValueError, RecursionError) as error:
        raise fail("", str(error)) from error
    return found
