"""The archive that a kernel unpacks, as this project's own reader finds it again."""

from __future__ import annotations

import io
import stat

from hypothesis import given
from hypothesis import strategies as st

from tailcall_audit.analyzer.kernelfiles.cpio import read_cpio
from tailcall_audit.probes.guest.cpio import members_of, write_cpio

NAMES = st.text("abc/._-", min_size=1, max_size=40).filter(lambda name: name != "TRAILER!!!")


@given(st.lists(st.tuples(NAMES, st.binary(max_size=100)), max_size=20))
def test_what_is_written_is_read_again(files: list[tuple[str, bytes]]) -> None:
    data = write_cpio([(name, stat.S_IFREG | 0o644, content, (0, 0)) for name, content in files])
    assert len(data) % 4 == 0
    assert [(name, content()) for name, _, content in read_cpio(io.BytesIO(data))] == files


def test_each_folder_comes_before_what_is_in_it_and_the_first_process_is_a_link() -> None:
    members = members_of({"/usr/lib/python3.11/os.py": b"", "/init": b"/usr/bin/python3.11"})
    names = [name for name, *_ in members]
    assert names[names.index("usr") :][:3] == ["usr", "usr/lib", "usr/lib/python3.11"]
    assert names.index("usr/lib/python3.11") < names.index("usr/lib/python3.11/os.py")
    modes = {name: mode for name, mode, *_ in members}
    assert stat.S_ISLNK(modes["init"])
    assert stat.S_ISREG(modes["usr/lib/python3.11/os.py"])
    assert [name for name in names if name.startswith("dev/")] == ["dev/console", "dev/null", "dev/urandom"]
    assert {"proc", "sys", "tmp"} <= set(names)
