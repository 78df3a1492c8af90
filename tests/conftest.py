"""Fixtures that all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.catalog.types import Catalog

# No test fails because the machine is busy.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    """The shipped catalogue."""
    return load_catalog()


@pytest.fixture(scope="session")
def lab() -> Path:
    """The research material, which the project itself never reads."""
    path = os.environ.get("TAILCALL_AUDIT_LAB")
    if not path or not Path(path).is_dir():
        pytest.skip("TAILCALL_AUDIT_LAB does not name the research material")
    return Path(path)
