"""What a guest gets of the running Python."""

from __future__ import annotations

import importlib.util
import marshal
import os
from pathlib import Path

import pytest

from tailcall_audit.probes.guest.interpreter import (
    InitramfsError,
    byte_code,
    compile_all,
    find_parts,
    interpreter,
    loaded_by_a_guest,
)


def test_the_running_python_says_what_a_guest_loads() -> None:
    parts = find_parts(interpreter())
    assert Path(parts.library).joinpath("os.py").is_file()
    assert {"ctypes", "tailcall_audit.probes.runner", "tailcall_audit.probes.defects.freplace_loop"} <= set(parts.names)
    assert not [name for name in parts.names if name.startswith("tailcall_audit.analyzer")]
    assert parts.files[interpreter()] == interpreter()
    assert [place for place in parts.files if os.path.basename(place).startswith("libc.so")]
    assert all(Path(origin).is_file() for origin in (*parts.files.values(), *parts.sources.values()))
    ours = [place for place in parts.sources if place.startswith("/tailcall-audit/")]
    assert "/tailcall-audit/tailcall_audit/probes/guest/first_process.pyc" in ours
    assert loaded_by_a_guest().sources.keys() == {place.removesuffix("c") for place in ours}


def test_modules_are_compiled_as_this_python_would(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("x = 1\n")
    (tmp_path / "two.py").write_text("")
    sources = {f"/{name}.pyc": str(tmp_path / f"{name}.py") for name in ("one", "two")}
    compiled = compile_all(interpreter(), sources)
    assert compiled.keys() == sources.keys()
    here = byte_code(b"x = 1\n", str(tmp_path / "one.py"))
    header = len(importlib.util.MAGIC_NUMBER) + 12
    assert compiled["/one.pyc"][:header] == here[:header]
    # The bytes of a marshalled object depend on who else refers to its parts; the object does not.
    assert marshal.loads(compiled["/one.pyc"][header:]) == marshal.loads(here[header:])
    assert compiled["/two.pyc"].startswith(importlib.util.MAGIC_NUMBER)


def test_an_interpreter_that_cannot_load_the_probes_is_named_with_what_it_said() -> None:
    with pytest.raises(InitramfsError, match=r"/bin/false can't load the probes"):
        find_parts("/bin/false")
