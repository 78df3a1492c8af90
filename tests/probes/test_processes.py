"""What a started program inherits: nothing of a hostile current directory or environment. Each canary leaves a file
where it runs.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tailcall_audit.analyzer
import tailcall_audit.probes
from tailcall_audit.probes import processes
from tailcall_audit.probes.guest.archive import build_initramfs
from tailcall_audit.probes.guest.boot import GuestError, find_qemu
from tailcall_audit.probes.processes import (
    PYTHON_OPTIONS,
    ProgramError,
    environment,
    find_program,
    fork_worker,
    missing_program,
    run,
    start,
)

PRINT_ENVIRONMENT = (
    "import os; print(sorted(os.environ)); print(os.getcwd()); print(sorted(os.listdir('/proc/self/fd'), key=int))"
)


def test_no_other_module_starts_processes() -> None:
    """By what modules import and call; what is passed over here would have to hide on purpose."""
    modules = {"subprocess", "multiprocessing", "pty", "_posixsubprocess", "popen2", "commands"}
    calls = {"system", "popen", "fork", "forkpty", "posix_spawn", "posix_spawnp", "startfile", "ProcessPoolExecutor"}
    found = []
    for package in (tailcall_audit.analyzer, tailcall_audit.probes):
        assert package.__file__ is not None
        for path in Path(package.__file__).resolve().parent.rglob("*.py"):
            if path == Path(processes.__file__).resolve():
                continue
            tree = ast.parse(path.read_text())
            for node in ast.walk(tree):
                names: list[str] = []
                if isinstance(node, ast.Import):
                    names = [alias.name.split(".")[0] for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    names = [(node.module or "").split(".")[0], *(f"os.{alias.name}" for alias in node.names)]
                elif (
                    isinstance(node, ast.Attribute)
                    and isinstance(node.value, ast.Name)
                    and node.value.id in ("os", "_libc")
                ):
                    names = [f"os.{node.attr}"]
                found += [
                    f"{path.name}:{getattr(node, 'lineno', 0)}: {name}"
                    for name in names
                    if name in modules or name.removeprefix("os.") in calls or name.startswith(("os.exec", "os.spawn"))
                ]
    assert found == []


def test_a_program_inherits_no_environment_no_directory_and_no_descriptor(hostile: Path) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(reader, True)
    os.set_inheritable(writer, True)
    done = run([sys.executable, *processes.PYTHON_OPTIONS, "-c", PRINT_ENVIRONMENT], timeout=60, more={"X": "1"})
    names, folder, descriptors = done.output.decode().splitlines()
    assert ast.literal_eval(names) == ["HOME", "LC_ALL", "PATH", "TZ", "X"]
    assert folder == "/"
    assert ast.literal_eval(descriptors) == ["0", "1", "2", "3"]  # the last is of the folder that is listed
    with start(
        [sys.executable, *processes.PYTHON_OPTIONS, "-c", f"import os; os.write({writer}, b'meant')"],
        descriptors=(writer,),
    ) as process:
        assert os.read(reader, 10) == b"meant"
        assert process.wait() == 0
    os.close(reader)
    os.close(writer)
    assert done.errors == b""
    assert not hostile.exists()


def test_programs_are_not_looked_for_in_the_current_directory(hostile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = find_program("git")
    assert found is None or not Path(found).is_relative_to(Path.cwd())
    assert "." not in environment()["PATH"].split(":")
    monkeypatch.setenv("PATH", ".:bin:")
    assert find_program("git") is None
    assert find_program("canary.sh") is None
    assert missing_program("git") == "no git in the folders of PATH that are absolute ('.', 'bin', '' is not searched)"
    assert find_program("git", ("relative/git",)) is None
    assert environment()["PATH"] == "/usr/bin:/bin"
    with pytest.raises(ValueError, match="by its absolute path"):
        run(["git"], timeout=1)
    with pytest.raises(GuestError, match="absolute"):
        find_qemu("x86_64") if not os.path.exists("/usr/libexec/qemu-kvm") else pytest.skip("QEMU in its own place")
    assert not hostile.exists()


def test_python_finds_no_module_there_even_when_it_is_started_there(
    hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The options of the interpreter alone: directory and environment are those of the user here."""
    monkeypatch.setattr(processes, "_WORKING_DIRECTORY", str(Path.cwd()))
    for name in [name for name in os.environ if name.startswith("LD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(processes, "environment", lambda _=None: dict(os.environ))
    build_initramfs(tmp_path / "cache")
    assert not hostile.exists()


def test_a_program_that_is_missing_fails_or_hangs_says_so(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=r"/nonexistent/x does not run: No such file"):
        run(["/nonexistent/x"], timeout=1)
    with pytest.raises(ProgramError, match=r"does not run"), start(["/nonexistent/x"]):
        pass
    with pytest.raises(ProgramError, match=r"/sleep did not end within 0.1 s"):
        run([find_program("sleep") or "", "60"], timeout=0.1)
    done = run([sys.executable, "-I", "-c", "import sys; sys.exit('first\\nsecond')"], timeout=60)
    assert (done.status, done.complaint()) == (1, "second")
    assert run([find_program("false") or ""], timeout=60).complaint() == "exit status 1"
    assert run([find_program("cat") or ""], timeout=60, given=b"given").output == b"given"


def test_a_program_that_still_runs_at_the_end_of_its_context_is_killed() -> None:
    with start([find_program("sleep") or "", "300"]) as process:
        assert process.poll() is None
    assert process.returncode == -9


def test_a_forked_worker_answers_in_a_pipe() -> None:
    def answer(writer: int) -> None:
        os.write(writer, b"answer")

    child, reader = fork_worker(answer)
    assert os.read(reader, 100) == b"answer"
    assert os.read(reader, 100) == b""
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(reader)

    def fail(_: int) -> None:
        raise ValueError

    child, reader = fork_worker(fail)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    os.close(reader)


def test_a_guest_loads_no_subprocess() -> None:
    """It is slow to import where the processor is emulated."""
    script = "import sys; sys.path.append(sys.argv[1]); import tailcall_audit.probes.guest.first_process; print('subprocess' in sys.modules)"
    root = str(Path(tailcall_audit.probes.__file__ or "").absolute().parents[2])
    done = run([sys.executable, *processes.PYTHON_OPTIONS, "-c", script, root], timeout=60)
    assert done.output.decode().split() == ["False"]


STARTS = """
import sys, traceback
found = []
def hook(event, arguments):
    if event in ("subprocess.Popen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "pty.spawn"):
        inner = [frame.f_code.co_filename for frame, _ in traceback.walk_stack(sys._getframe())]
        found.append(any(name.endswith("probes/processes.py") for name in inner))
sys.addaudithook(hook)
from tailcall_audit.analyzer.app.main import main
codes = []
for target in sys.argv[1:]:
    codes.append(main(target.split("=", 1)))
print(codes, found, sorted(sys.modules.keys() & {"multiprocessing", "pty"}), file=sys.stderr)
"""


def test_no_library_starts_a_process_of_its_own(tmp_path: Path) -> None:
    """Seen by Python's audit events while every kind of target is read: python-debian would start unzstd for this
    package.
    """
    from tests import zstd
    from tests.debs import CONTROL, ar, tar
    from tests.repositories import stable_branch
    from tests.rpms import FIRST, RHEL, rpm

    parts = [("control.tar.zst", {"./control": CONTROL}), ("data.tar.zst", {"./boot/vmlinuz-6.1.0-47-amd64": b"x"})]
    members = [(name, zstd.compress(tar(files))) for name, files in parts]
    (tmp_path / "x.deb").write_bytes(ar([("debian-binary", b"2.0\n"), *members]))
    (tmp_path / "Packages").write_bytes(CONTROL + b"\n")
    (tmp_path / "config").write_bytes(b"CONFIG_BPF=y\n")
    (tmp_path / "changelog").write_text(f"%changelog\n{RHEL}{FIRST}")
    tree = stable_branch(tmp_path / "linux").path
    targets = [
        f"--package={tmp_path}/x.deb",
        f"--package={rpm(tmp_path / 'rpm', RHEL + FIRST)}",
        f"--repo={tmp_path}/Packages",
        f"--config={tmp_path}/config",
        f"--changelog={tmp_path}/changelog",
        f"--tree={tree}",
        "--kernel=6.1.170",
    ]
    done = subprocess.run([sys.executable, "-c", STARTS, *targets], capture_output=True, text=True, check=True)
    codes, found, modules = ast.literal_eval(f"[{done.stderr.splitlines()[-1].replace('] [', '], [')}]")
    assert set(codes) <= {0, 1, 3}, done.stderr
    assert found  # git, for the tree
    assert all(found)
    assert modules == []


def python(script: str) -> list[str]:
    return [os.path.realpath(sys.executable), *PYTHON_OPTIONS, "-c", script]


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_program_that_writes_without_end_is_killed_at_the_limit(stream: str, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = (
        f"import os, sys\nopen({str(pid)!r}, 'w').write(str(os.getpid()))\nwhile True: sys.{stream}.write('x' * 65536)"
    )
    with pytest.raises(ProgramError, match=r"wrote more than 1,000,000 bytes"):
        run(python(script), timeout=60, limit=1_000_000)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_a_program_that_does_not_end_is_killed() -> None:
    with pytest.raises(ProgramError, match=r"did not end within 0\.2 s"):
        run(python("import time; time.sleep(1000)"), timeout=0.2)
    # It closes its outputs, and stays.
    with pytest.raises(ProgramError, match=r"did not end within 0\.5 s"):
        run(python("import os, time; os.close(1); os.close(2); time.sleep(1000)"), timeout=0.5)


def test_a_program_is_given_much_and_answers_much_at_once() -> None:
    given = bytes(range(256)) * 8192
    done = run(
        python("import shutil, sys; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer, 1000)"),
        timeout=60,
        given=given,
    )
    assert (done.status, done.output, done.errors) == (0, given, b"")
    # One that reads nothing is no error.
    done = run(python("import sys; sys.stdin.close(); sys.exit(3)"), timeout=60, given=given)
    assert done.status == 3
