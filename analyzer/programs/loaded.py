"""Reads the programs that are loaded on this host, without changing anything there."""

from __future__ import annotations

from tailcall_audit.analyzer.errors import AuditError
from tailcall_audit.analyzer.programs.code import ProgramsError
from tailcall_audit.analyzer.programs.host import programs_of
from tailcall_audit.analyzer.programs.types import ProgramSet
from tailcall_audit.probes.kernel.bpf import BpfError
from tailcall_audit.probes.kernel.loaded import read_kernel, why_refused

__all__ = ["read_loaded"]


def read_loaded() -> ProgramSet:
    """Returns the programs loaded on this host. Raises AuditError if they cannot be read; the message says what is
    missing.
    """
    try:
        return programs_of(read_kernel(), "this host")
    except BpfError as error:
        raise AuditError(f"what is loaded on this host cannot be read: {why_refused(error)}") from error
    except ProgramsError as error:
        raise AuditError(f"what is loaded on this host cannot be read: {error}") from error
