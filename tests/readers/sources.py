"""Real sources that a test can change: Debian's linux-source packages, by version."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tailcall_audit import audit
from tailcall_audit.analyzer.model import TargetReport
from tests.kernels import kernel_source

F, A, N, U = "fixed", "affected", "not-affected", "unknown"
OLDEST, BOOKWORM_170, BOOKWORM_192, TRIXIE, NEWEST = (
    "5.10.262-1",
    "6.1.170-3",
    "6.1.192-2",
    "6.12.117-1",
    "7.3.4-1~bpo13+1",
)


def states(report: TargetReport) -> dict[str, str]:
    return {item.defect.slug: item.state.value for item in report.verdicts}


# ---------------------------------------------------------------------------------------------------------------------
# Four corners: at the fix silent, before it affected, at the introduction affected, before that not. What a commit changed is
# taken from the older Debian source where there is one, else written as the commit's patch has it.


class Source:
    """A copy of a real source that can be changed."""

    def __init__(self, series: str, version: str, target: Path) -> None:
        self.path = target
        origin, _ = kernel_source(series, version)
        shutil.copytree(origin, target)

    def edit(self, path: str, old: str, new: str) -> Source:
        place = self.path / path
        text = place.read_text()
        assert old in text, f"{path} no longer contains {old!r}"
        place.write_text(text.replace(old, new))
        return self

    def drop_lines(self, path: str, containing: str) -> Source:
        place = self.path / path
        lines = place.read_text().split("\n")
        kept = [line for line in lines if containing not in line or line.lstrip().startswith("*")]
        assert len(kept) < len(lines), f"{path} has no line with {containing!r}"
        place.write_text("\n".join(kept))
        return self

    def replace_function(self, path: str, name: str, body: str) -> Source:
        place = self.path / path
        text = place.read_text()
        pattern = re.compile(
            rf"^(?:static )?(?:inline )?[\w ]*\*?{name}\([^;{{]*\)\n\{{.*?^\}}\n", re.MULTILINE | re.DOTALL
        )
        assert len(pattern.findall(text)) == 1, f"{path} has not one {name}()"
        place.write_text(pattern.sub(lambda _: body, text))
        return self

    def take(self, path: str, series: str, version: str) -> Source:
        other, _ = kernel_source(series, version)
        shutil.copyfile(other / path, self.path / path)
        return self

    def state(self, slug: str, arch: str = "x86_64") -> str:
        return states(audit(trees=[str(self.path)], arch=arch, only=[slug]).targets[0])[slug]


CORE, JIT, VERIFIER, TRAMPOLINE, ARRAYMAP, HEADER = (
    "kernel/bpf/core.c",
    "arch/x86/net/bpf_jit_comp.c",
    "kernel/bpf/verifier.c",
    "kernel/bpf/trampoline.c",
    "kernel/bpf/arraymap.c",
    "include/linux/bpf_verifier.h",
)
