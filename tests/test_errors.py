"""Errors for a program that calls `audit()`, and for the user of the command line."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tailcall_audit import AuditError, Catalog, audit
from tailcall_audit.analyzer.app import exposure
from tailcall_audit.analyzer.app.audit_options import audit_parser
from tailcall_audit.analyzer.app.main import _OPTIONS, main
from tailcall_audit.analyzer.errors import naming, parameter
from tailcall_audit.analyzer.judging import _Beside
from tailcall_audit.analyzer.model import EvidenceKind, TargetKind
from tailcall_audit.analyzer.readers.registry import Reader, Reading
from tailcall_audit.analyzer.subjects.subject import Fleet, Request, Subject, make_subject

ROOT = Path(__file__).parents[1] / "analyzer"
LIBRARY = ("kernelfiles", "subjects", "programs", "web", "selection.py", "targets.py", "pipeline.py", "architecture.py")
"""What `audit()` raises comes from these: from the other folders comes advice, which is a command."""
COMMANDS = ("tailcall-audit ", "git ", "rpm ", "kubectl ", "journalctl ")


def texts(path: Path) -> list[str]:
    """The string literals of a module that are no docstrings; the parts of an f-string as one."""
    found = []
    inner: set[ast.AST] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Expr):
            inner.add(node.value)
        elif isinstance(node, ast.JoinedStr):
            inner.update(node.values)
            found.append("".join(str(part.value) for part in node.values if isinstance(part, ast.Constant)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in inner:
            found.append(node.value)
    return found


def test_messages_of_the_library_name_no_option() -> None:
    options = {option for option in audit_parser()._option_string_actions if option.startswith("--")}
    modules = [
        path for name in LIBRARY for path in ([ROOT / name] if name.endswith(".py") else (ROOT / name).rglob("*.py"))
    ]
    assert len(modules) > 100
    found = [
        (path.name, text)
        for path in modules
        for text in texts(path)
        if " " in text  # else it is a word of a command line
        and options & set(re.findall(r"--[a-z][a-z-]*", text))
        and not any(word in text for word in COMMANDS)
    ]
    assert found == []


def test_every_parameter_of_a_message_is_one_of_audit_and_has_an_option() -> None:
    sources = [path.read_text(encoding="utf-8") for path in ROOT.rglob("*.py")]
    named = {name for text in sources for name in re.findall(r"""\bparameter\(['"](\w+)['"]""", text)}
    templates = [text for path in (ROOT / "targets.py", ROOT / "selection.py") for text in texts(path)]
    named |= {name for text in templates for name in re.findall(r"\{(\w+)\}", text)}
    assert len(named) > 20
    assert named <= _OPTIONS.keys()
    # The files of bpftool's answers are a parameter of the exposure, not of an audit.
    assert _OPTIONS.keys() - {*inspect.signature(audit).parameters, *Fleet._fields} == {"bpftool"}
    known = {*audit_parser()._option_string_actions, *exposure.parser()._option_string_actions}
    assert set(_OPTIONS.values()) <= known


def test_a_message_names_what_its_reader_can_give() -> None:
    assert (parameter("rev"), parameter("rev", "HEAD")) == ("rev", "rev=HEAD")
    with naming({"rev": "--rev"}):
        assert (parameter("rev"), parameter("rev", "HEAD")) == ("--rev", "--rev HEAD")
    assert parameter("rev") == "rev"


def in_a_thread(work: Callable[[], str]) -> str:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def test_a_program_that_audits_in_another_thread_keeps_its_own_words() -> None:
    with naming({"rev": "--rev"}):
        assert in_a_thread(lambda: parameter("rev", "HEAD")) == "rev=HEAD"


def test_a_reader_beside_the_others_names_what_they_name(catalog: Catalog) -> None:
    class Naming(Reader):
        def read(self, subject: Subject, request: Request) -> Reading:
            return Reading(notes=(parameter("rev", "HEAD"),))

    reader = Naming(EvidenceKind.HISTORY, (), "", beside=True)
    request = Request(catalog, ())
    subject = make_subject(request, TargetKind.RELEASE, "6.1.170", release=None)
    options: dict[str, str]
    for options, words in (({}, "rev=HEAD"), ({"rev": "--rev"}, "--rev HEAD")):
        with naming(options):
            thread = _Beside(reader, subject, request)
        thread.start()
        assert thread.outcome().notes == (words,)


def test_the_same_error_for_a_program_and_for_a_user(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "changelog").write_text("x\n")
    with pytest.raises(AuditError, match=r"^distro is about a package that is fetched"):
        audit(kernels=["6.1.170"], distro="debian")
    assert main(["--kernel", "6.1.170", "--distro", "debian"]) == 2
    assert "tailcall-audit: --distro is about a package that is fetched" in capsys.readouterr().err
    # The command line leaves nothing behind in a program that runs it.
    with pytest.raises(AuditError, match=r"^rev is a revision of one tree"):
        audit(kernels=["6.1.170"], rev="HEAD")
