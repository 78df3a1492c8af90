"""Dependencies: each has its line in docs/dependencies.md, and nothing fails for want of an extra's libraries."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tailcall_audit.analyzer.kernelfiles.containers import unpack
from tests.kernelfiles.images import bzimage, lz4_legacy, sized
from tests.kernels import package_file
from tests.mutants import small_image
from tests.requirements import requirements

_DOCS = Path(__file__).parents[1] / "docs/dependencies.md"
_EXTRAS = ("images", "emulation", "formats", "catalog", "completion", "disk")
_OF_FORMATS = ("jinja2", "junitparser", "prometheus_client", "cyclonedx")
BLOCKED = ("capstone", "lz4", "lzallright", "unicorn", "yaml", "shtab", "dissect", "pycdlib", *_OF_FORMATS)
"""The modules of the extras."""
_WITHOUT = f"""
import sys
from importlib.abc import MetaPathFinder

class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""
_MAIN = "from tailcall_audit.analyzer.app.main import main; sys.exit(main(sys.argv[1:]))"


def test_every_dependency_has_its_line() -> None:
    rows = [line for line in _DOCS.read_text().splitlines() if line.startswith("| ")]
    words = {re.sub(r"[-_.]+", "-", word) for row in rows for word in re.findall(r"[a-z0-9][a-z0-9._-]*", row.lower())}
    assert set(requirements("tailcall-audit", set(_EXTRAS))) - words == set()


def without_extras(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a script in which the libraries of no extra can be imported."""
    return subprocess.run(
        [sys.executable, "-c", _WITHOUT + script, *arguments],
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_only_what_runs_functions_needs_an_extra_to_be_imported() -> None:
    script = """
import pkgutil, tailcall_audit
from importlib import import_module
failed = set()
for module in pkgutil.walk_packages(tailcall_audit.__path__, "tailcall_audit."):
    if module.name.endswith("__main__"):
        continue
    try:
        import_module(module.name)
    except ImportError:
        failed.add(module.name)
print(*sorted(failed))
"""
    done = without_extras(script)
    assert done.returncode == 0, done.stderr
    failed = done.stdout.split()
    assert failed
    run_late = ("tailcall_audit.analyzer.emulator.", "tailcall_audit.analyzer.readers.emulation.")
    assert [name for name in failed if not name.startswith(run_late)] == []
    assert "tailcall_audit.analyzer.readers.emulation.reader" not in failed


def judged(*arguments: str) -> tuple[dict[str, str], list[str]]:
    """Returns the verdicts of an audit without the extras, and its notes."""
    done = without_extras(_MAIN, *arguments, "--json")
    assert done.returncode in (0, 1, 3), done.stderr
    (target,) = json.loads(done.stdout)["targets"]
    return {item["defect"]: item["verdict"] for item in target["verdicts"]}, target["notes"]


def test_an_image_is_judged_by_its_version_and_notes_name_both_extras(tmp_path: Path) -> None:
    image = tmp_path / "vmlinux"
    image.write_bytes(unpack(small_image().read_bytes(), "vmlinuz").data)
    verdicts, notes = judged("--image", str(image))
    assert {*verdicts.values()} >= {"affected", "fixed"}
    for extra in ("images", "emulation"):
        assert [note for note in notes if f"pip install 'tailcall-audit[{extra}]'" in note], notes
    release = re.search(rb"Linux version (\S+)", image.read_bytes())
    assert release is not None
    of_release, _ = judged("--kernel", release.group(1).decode(), "--arch", "x86_64")
    safe = ("fixed", "not-affected")
    assert {name for name in verdicts if verdicts[name] in safe and of_release[name] == "affected"} == set()


@pytest.mark.parametrize("library", ["lz4", "lzallright"])
def test_an_image_of_a_missing_compression_is_refused_by_the_name_of_the_extra(tmp_path: Path, library: str) -> None:
    content = b"\x7fELF" + bytes(4000)
    packed = {"lz4": lz4_legacy(content), "lzallright": b"\x89LZO\0\r\n\x1a\n" + bytes(100)}[library]
    image = tmp_path / "vmlinuz"
    image.write_bytes(bzimage(sized(packed, content)))
    done = without_extras(_MAIN, "--image", str(image))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"the library {library} is not installed: pip install 'tailcall-audit[images]'" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "content",
    [
        bytes(0x438) + b"\x53\xef" + bytes(4096),
        bytes(0x8001) + b"CD001" + bytes(4096),
        b"QFI\xfb" + bytes(600),
        (bytes(512) + b"LABELONE").ljust(8192, b"\0"),
    ],
    ids=["ext4", "ISO 9660", "qcow2", "LVM"],
)
def test_a_disk_is_refused_by_the_name_of_the_extra(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "disk").write_bytes(content)
    done = without_extras(_MAIN, "--disk", str(tmp_path / "disk"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "to read disks, install the extra: pip install 'tailcall-audit[disk]'" in done.stderr


def test_a_package_with_an_lz4_kernel_is_judged_by_its_changelog() -> None:
    package = package_file("linux-image-6.1.0-47-cloud-amd64", "6.1.170-3")
    verdicts, notes = judged("--package", str(package))
    assert (verdicts["x86-hierarchy"], verdicts["freplace-loop"]) == ("affected", "affected")
    assert verdicts["x86-trampoline-loop"] == "fixed"
    assert [note for note in notes if "lz4 data" in note and "tailcall-audit[images]" in note], notes


@pytest.mark.parametrize("name", ["html", "junit", "prometheus", "cyclonedx"])
def test_a_format_that_needs_a_library_names_the_extra(name: str) -> None:
    done = without_extras(_MAIN, "--kernel", "6.1.170", "--only", "6", "--format", name)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"--format {name}: the library " in done.stderr
    assert "is not installed: pip install 'tailcall-audit[formats]'" in done.stderr


@pytest.mark.parametrize("name", ["sarif", "openvex", "csaf", "csv", "markdown", "json", "plain"])
def test_every_other_format_needs_none(name: str) -> None:
    done = without_extras(_MAIN, "--kernel", "6.1.170", "--only", "6", "--format", name)
    assert done.returncode == 1, done.stderr


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [(("catalog", "build", "--check"), "catalog"), (("completion", "tcsh"), "completion")],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_a_subcommand_that_needs_an_extra_names_it(arguments: tuple[str, ...], extra: str) -> None:
    done = without_extras(_MAIN, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"tailcall-audit[{extra}]" in done.stderr
