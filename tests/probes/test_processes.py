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
from tailcall_audit.analyzer.kernelfiles.git_walk import first_parent_subjects
from tailcall_audit.analyzer.kernelfiles.installed_rpm import rpm_kernels
from tailcall_audit.analyzer.kernelfiles.package_types import PackageError
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

HOSTILE = {
    "PYTHONHOME": "/nonexistent",
    "PYTHONSTARTUP": "startup.py",
    "PYTHONINSPECT": "1",
    "PYTHONUSERBASE": ".",
    "PYTHONPLATLIBDIR": ".",
    "PYTHONVERBOSE": "1",
    "LD_PRELOAD": "./canary.so",
    "LD_LIBRARY_PATH": ".",
    "LD_AUDIT": "./canary.so",
    "GLIBC_TUNABLES": "glibc.malloc.check=3",
    "BASH_ENV": "./canary.sh",
    "ENV": "./canary.sh",
    "GIT_DIR": "/nonexistent",
    "GIT_OBJECT_DIRECTORY": ".",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES": ".",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "core.fsmonitor",
    "GIT_CONFIG_VALUE_0": "./canary.sh",
    "GIT_CONFIG_PARAMETERS": "'core.fsmonitor'='./canary.sh'",
    "GIT_CONFIG_GLOBAL": "./gitconfig",
    "GIT_EXTERNAL_DIFF": "./canary.sh",
    "GIT_PAGER": "./canary.sh",
    "GIT_SSH_COMMAND": "./canary.sh",
    "GIT_ASKPASS": "./canary.sh",
    "GIT_PROXY_COMMAND": "./canary.sh",
    "GIT_REPLACE_REF_BASE": "refs/heads/",
    "GIT_SHALLOW_FILE": "./shallow",
    "RPM_POPTEXEC_PATH": ".",
    "RPM_TRACE": "1",
    "QEMU_AUDIO_DRV": "wav",
    "QEMU_LD_PREFIX": ".",
    "QEMU_LOG": "all",
}
PRINT_ENVIRONMENT = (
    "import os; print(sorted(os.environ)); print(os.getcwd()); print(sorted(os.listdir('/proc/self/fd'), key=int))"
)


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory full of canaries, in an environment that points to them; returns the file that a canary
    makes.
    """
    folder = tmp_path / "hostile"
    folder.mkdir()
    ran = tmp_path / "RAN"
    for name in sys.stdlib_module_names:
        (folder / f"{name}.py").write_text(f"open({str(ran)!r}, 'a').write('python {name}\\n')\nraise SystemExit(7)\n")
    for name in ("git", "rpm", "unzstd", "qemu-system-x86_64", "gcc", "sh", "canary.sh", "git-rev-list", "git-fetch"):
        (folder / name).write_text(f"#!/bin/sh\necho program {name} >>{ran}\n")
        (folder / name).chmod(0o755)
    (folder / "gitconfig").write_text("[core]\n\tfsmonitor = ./canary.sh\n")
    # rpm expands these whatever it is asked, and its option parser replaces options by aliases of the user.
    (folder / ".rpmmacros").write_text(
        f"%_keyring %(echo macros >>{ran})x\n%_db_backend %(echo macros >>{ran})sqlite\n"
    )
    (folder / ".popt").write_text(
        f"rpm alias --qf --eval '%(echo popt >>{ran})' --queryformat\nrpm exec --dbpath canary.sh\n"
    )
    (folder / "macros").write_text(f"%_dbpath %(echo configdir >>{ran})\n")
    monkeypatch.chdir(folder)
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)
    for name in ("HOME", "XDG_CONFIG_HOME", "RPM_CONFIGDIR", "GIT_EXEC_PATH", "QEMU_MODULE_DIR", "PYTHONPATH"):
        monkeypatch.setenv(name, str(folder))
    monkeypatch.setenv("GIT_TRACE", str(ran))
    monkeypatch.setenv("GIT_TRACE2_EVENT", str(ran))
    monkeypatch.setenv("PATH", f".::bin:{os.environ['PATH']}")
    return ran


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


def test_the_archive_of_a_guest_is_made_without_the_current_directory(hostile: Path, tmp_path: Path) -> None:
    path = build_initramfs(tmp_path / "cache")
    assert path.stat().st_size > 1 << 20
    assert str(Path.cwd()).encode() not in path.read_bytes()
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


def test_the_command_runs_no_module_of_the_current_directory(hostile: Path) -> None:
    """The tool's own process has the user's environment, but no child of it finds what lies there."""
    script = (
        f"import sys; sys.path.append({str(Path(tailcall_audit.analyzer.__file__ or '').absolute().parents[2])!r})\n"
        "from tailcall_audit.probes.guest.archive import build_initramfs; from pathlib import Path; build_initramfs(Path(sys.argv[1]))"
    )
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("LD_", "PYTHON"))}
    subprocess.run([sys.executable, "-P", "-c", script, str(hostile.parent / "cache")], check=True, env=environ)
    assert not hostile.exists()


def test_rpm_reads_no_macros_of_the_user(hostile: Path, tmp_path: Path) -> None:
    if find_program("rpm") is None:
        pytest.skip("no rpm on this machine: install rpm")
    database = tmp_path / "root/var/lib/rpm"
    database.mkdir(parents=True)
    rpm = find_program("rpm")
    assert rpm is not None
    assert run([rpm, "--dbpath", str(database), "--initdb"], timeout=60).status == 0
    (database / "rpmdb.sqlite").touch()
    assert rpm_kernels(tmp_path / "root") == ()
    assert not hostile.exists()


def test_without_rpm_the_folders_that_were_not_searched_are_named(
    hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = tmp_path / "root/var/lib/rpm"
    database.mkdir(parents=True)
    (database / "rpmdb.sqlite").touch()
    monkeypatch.setenv("PATH", ".")
    with pytest.raises(PackageError, match=r"no rpm in the folders of PATH that are absolute \('.' is not searched\)"):
        rpm_kernels(tmp_path / "root")
    assert not hostile.exists()


HOSTILE_CONFIG = """
[core]
	fsmonitor = {canary}
	hooksPath = {folder}
	pager = {canary}
	sshCommand = {canary}
	gitProxy = {canary}
	editor = {canary}
	askPass = {canary}
	attributesFile = {folder}/attributes
	alternateRefsCommand = {canary}
[alias]
	rev-list = !{canary}
[diff]
	external = {canary}
[diff "x"]
	textconv = {canary}
	command = {canary}
[filter "x"]
	clean = {canary}
	smudge = {canary}
	process = {canary}
[log]
	showSignature = true
[gpg]
	program = {canary}
[credential]
	helper = !{canary}
[protocol]
	allow = always
[protocol "ext"]
	allow = always
[remote "origin"]
	url = ext::{canary}
	uploadpack = {canary}
	vcs = canary
	promisor = true
	partialclonefilter = blob:none
[extensions]
	partialClone = origin
[include]
	path = {folder}/included
[trace2]
	eventTarget = {canary}.trace
"""


@pytest.mark.parametrize("uploader", ["ext", "file", "vcs", "ssh"])
def test_nothing_of_a_repository_is_run(
    hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uploader: str
) -> None:
    """Its configuration names programs in every way that git knows, and objects are missing that a partial clone would
    fetch.
    """
    import pygit2

    git = find_program("git")
    if git is None:
        pytest.skip("no git on this machine: install git")
    repository = pygit2.init_repository(str(tmp_path / "repository"))
    author = pygit2.Signature("A", "a@example.org")
    tree = repository.TreeBuilder().write()
    first = repository.create_commit(None, author, author, "first", tree, [])
    second = repository.create_commit("refs/heads/main", author, author, "second", tree, [first])
    canary = Path.cwd() / "canary.sh"
    config = Path(repository.path) / "config"
    text = HOSTILE_CONFIG.format(canary=canary, folder=Path.cwd())
    if uploader != "vcs":
        text = text.replace("\tvcs = canary\n", "")
    text = text.replace(
        "url = ext::",
        {"file": f"url = file://{tmp_path}/other\n\tx = ", "ssh": "url = ssh://127.0.0.1/x\n\tx = "}.get(
            uploader, "url = ext::"
        ),
    )
    config.write_text(config.read_text() + text)
    (Path.cwd() / "included").write_text(f"[core]\n\tfsmonitor = {canary}\n[alias]\n\trev-list = !{canary}\n")
    (Path.cwd() / "attributes").write_text("* filter=x diff=x\n")
    for hook in ("reference-transaction", "post-index-change", "pre-auto-gc", "fsmonitor-watchman"):
        for folder in (Path.cwd(), Path(repository.path) / "hooks"):
            (folder / hook).write_text(canary.read_text())
            (folder / hook).chmod(0o755)
    (Path.cwd() / "git-remote-canary").write_text(canary.read_text())
    (Path.cwd() / "git-remote-canary").chmod(0o755)
    # Where git is found, the helpers that it starts by name would be too.
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:{Path.cwd()}")
    assert [subject for _, subject in first_parent_subjects(repository, str(second), 10)] == [b"second", b"first"]
    assert not hostile.exists()
    missing = Path(repository.path) / "objects" / str(first)[:2] / str(first)[2:]
    missing.unlink()
    from tailcall_audit.analyzer.kernelfiles.git_walk import WalkError

    with pytest.raises(WalkError, match="git: "):
        list(first_parent_subjects(repository, str(second), 10))
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


@pytest.fixture
def command() -> Path:
    """The checkout's own command, which has set up what it needs."""
    found = Path(__file__).resolve().parents[2] / "bin/tailcall-audit"
    done = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"{found} cannot set itself up here: {done.stderr[-200:]}")
    return found


def test_the_checkouts_own_command_runs_nothing_of_the_current_directory(command: Path, hostile: Path) -> None:
    # The loader acts on LD_* and bash on BASH_ENV before the first line of this command can do anything about it.
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("LD_", "BASH_ENV"))}
    done = subprocess.run([command, "--kernel", "6.1.170"], capture_output=True, text=True, check=False, env=environ)
    assert (done.returncode, done.stderr) == (1, "")
    assert not hostile.exists()


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
    from tests.repositories import stable_branch
    from tests.rpms import FIRST, RHEL, rpm
    from tests.subjects.test_packages import CONTROL, ar, tar

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
