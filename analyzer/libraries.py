"""One context manager per library, which turns every exception of the library on bad input into an error of this tool.

Libraries document only a few of the errors that broken data can cause. A false header may lead to any exception. Each
adapter therefore catches every exception, and must surround calls of its library only, not this tool's own code.
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
"""Makes the error to raise from the library's message."""


@contextmanager
def _adapted(fail: Failure, also: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Raises `fail` for every exception, except AuditError and the types in `also`, which a stream of this tool may
    raise.
    """
    from tailcall_audit.analyzer.errors import AuditError

    ours: tuple[type[Exception], ...] = (AuditError, *also)
    try:
        yield
    except ours:
        raise
    except Exception as error:
        raise fail(str(error).strip() or type(error).__name__) from error


def compression_errors(fail: Failure) -> AbstractContextManager[None]:
    """backports.zstd, bz2, gzip, lz4, lzallright, lzma and zlib raise OSError, EOFError, ValueError, RuntimeError,
    MemoryError and errors of their own.
    """
    return _adapted(fail)


def tar_errors(fail: Failure) -> AbstractContextManager[None]:
    """tarfile raises TarError, and for false headers also ValueError, OverflowError, KeyError and UnicodeError."""
    return _adapted(fail)


def debian_errors(fail: Failure) -> AbstractContextManager[None]:
    """python-debian raises ArError and DebError, and for broken members and versions KeyError, ValueError, IndexError
    and TypeError.
    """
    return _adapted(fail)


def elftools_errors(fail: Failure) -> AbstractContextManager[None]:
    """pyelftools raises ELFError, and for false headers ValueError, KeyError, AttributeError, OverflowError,
    MemoryError and UnicodeError.
    """
    return _adapted(fail)


def capstone_errors(fail: Failure) -> AbstractContextManager[None]:
    """capstone raises CsError."""
    return _adapted(fail)


def dissect_errors(fail: Failure) -> AbstractContextManager[None]:
    """dissect's libraries raise errors of their own, and for broken metadata EOFError, ValueError, IndexError,
    struct.error and others.
    """
    return _adapted(fail)


def pygit2_errors(fail: Failure) -> AbstractContextManager[None]:
    """pygit2 raises GitError, KeyError, ValueError or OSError for the same fault, depending on its version."""
    return _adapted(fail)


def xml_errors(fail: Failure) -> AbstractContextManager[None]:
    """expat raises ExpatError, and for unknown encodings ValueError and LookupError."""
    return _adapted(fail)


def requests_errors(fail: Failure, *also: type[Exception]) -> AbstractContextManager[None]:
    """requests raises RequestException, and passes on errors of urllib3 and http.client, and UnicodeError (for a
    Location that is not UTF-8).

    The types in `also` are raised unchanged.
    """
    return _adapted(fail, also)


def jsonschema_errors(fail: Failure) -> AbstractContextManager[None]:
    """jsonschema raises RecursionError for data that is nested deeper than Python's stack allows."""
    return _adapted(fail)


def parse_json(data: bytes, fail: Callable[[str, str], Exception]) -> object:
    """Returns the value of a JSON text. For broken JSON, raises the result of `fail`, called with ``:LINE:COLUMN`` (""
    if unknown) and a reason.

    json raises JSONDecodeError, UnicodeDecodeError, ValueError (an integer with more digits than Python converts) and
    RecursionError.
    """
    try:
        found: object = json.loads(data)
    except json.JSONDecodeError as error:
        raise fail(f":{error.lineno}:{error.colno}", str(error)) from error
    except (ValueError, RecursionError) as error:
        raise fail("", str(error)) from error
    return found
