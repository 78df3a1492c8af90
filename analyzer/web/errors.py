"""The error of an address that cannot be fetched."""

from __future__ import annotations

from tailcall_audit.analyzer.errors import AuditError

__all__ = ["FetchError"]


class FetchError(AuditError):
    """An address that could not be fetched. The message names it and a remedy; `status` is the server's, None if there
    was no whole answer.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
