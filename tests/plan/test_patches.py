"""Plans for unpacked sources: the list and its order, and what mails and git format-patch files make of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plan.kernels import ARRAYMAP, IN_ORDER, Upstream, files_of, replaced, with_version
from tests.plan.planned import outcomes, plan
from tests.repositories import git

SIX = "2,3,5,6"


@pytest.fixture(scope="module")
def mainline(tmp_path_factory: pytest.TempPathFactory) -> Upstream:
    return Upstream(tmp_path_factory.mktemp("up") / "mainline", files_of("6.1"), IN_ORDER, "6.12")


@pytest.fixture(scope="module")
def mails(mainline: Upstream) -> Path:
    folder = mainline.path.parent / "mails"
    git("format-patch", "-q", "-o", str(folder), f"{mainline.root}..master", cwd=mainline.path)
    return folder


def unpacked(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in with_version(files, "6.1.170").items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def test_without_objects_and_patches_the_list_is_untested(mainline: Upstream, tmp_path: Path) -> None:
    found = plan(unpacked(tmp_path / "linux", mainline.stages[0]), "--only", SIX)
    assert outcomes(found) == [(name, "untested") for name in IN_ORDER]
    assert found.data["result"] | {"reasons": []} == {
        "tested": False,
        "fixed": [],
        "open": found.data["result"]["open"],
        "reasons": [],
        "tree": None,
    }
    assert "freplace-loop" in found.data["result"]["open"]
    assert found.code == 3


def test_mails_are_applied_in_memory(mainline: Upstream, mails: Path, tmp_path: Path) -> None:
    tree = unpacked(tmp_path / "linux", mainline.stages[0])
    before = {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    found = plan(tree, "--only", SIX, "--patches", str(mails))
    assert outcomes(found) == [(name, "clean") for name in IN_ORDER]
    assert found.code == 1
    assert {"freplace-loop", "x86-trampoline-loop", "trampoline-flags-clobber"} <= found.fixed
    assert {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()} == before


def test_a_mail_that_is_missing_leaves_its_step_untested(mainline: Upstream, mails: Path, tmp_path: Path) -> None:
    some = tmp_path / "some"
    some.mkdir()
    for path in sorted(mails.iterdir())[:2]:
        (some / path.name).write_bytes(path.read_bytes())
    (some / "README").write_text("no patch\n")
    found = plan(unpacked(tmp_path / "linux", mainline.stages[0]), "--only", "2,6", "--patches", str(some))
    assert outcomes(found) == [("2", "clean"), ("6", "untested")]
    assert found.steps[1]["fetch"].startswith("git fetch ")
    assert found.fixed == {"x86-count-offset"}
    assert any("README: not taken" in note for note in found.data["notes"])
    assert found.code == 3


def test_a_patch_that_does_not_apply_names_file_and_function(mainline: Upstream, mails: Path, tmp_path: Path) -> None:
    files = dict(mainline.stages[4])
    replaced(files, ARRAYMAP, "	if (!bpf_prog_map_compatible(map, prog)) {\n", "	if (vendor_refuses(map)) {\n", 1)
    found = plan(unpacked(tmp_path / "linux", files), "--only", "6", "--unknown", "--patches", str(mails))
    (step,) = found.steps
    assert (step["outcome"], step["conflicts"]) == ("conflicts", [ARRAYMAP])
    assert found.code == 3


def test_a_mailbox_and_a_quoted_mail_are_read(mainline: Upstream, mails: Path, tmp_path: Path) -> None:
    """One file with all mails, and one whose body is encoded, as mailing lists keep them."""
    box = tmp_path / "box"
    box.mkdir()
    (box / "all.mbox").write_bytes(b"".join(path.read_bytes() for path in sorted(mails.iterdir())))
    tree = unpacked(tmp_path / "linux", mainline.stages[0])
    assert outcomes(plan(tree, "--only", SIX, "--patches", str(box))) == [(name, "clean") for name in IN_ORDER]
    import email
    import email.policy
    from email.message import EmailMessage

    mail = email.message_from_bytes(sorted(mails.iterdir())[4].read_bytes())
    quoted = EmailMessage(policy=email.policy.SMTP)
    quoted["From"], quoted["Subject"] = (
        "A <a@example.org>",
        f"[PATCH bpf-next v3 1/2] {str(mail['Subject']).partition('] ')[2]}",
    )
    quoted.set_content(mail.get_payload(decode=True).decode(), cte="quoted-printable")  # type: ignore[union-attr]
    (tmp_path / "one").mkdir()
    (tmp_path / "one/mail.eml").write_bytes(bytes(quoted))
    assert outcomes(plan(tree, "--only", "6", "--patches", str(tmp_path / "one"))) == [("6", "clean")]
