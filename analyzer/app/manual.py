"""The manual page and the completion files, made from the parsers: ``python -m tailcall_audit.analyzer.app.manual
FOLDER``.

The checkout keeps them in ``docs/man`` and ``docs/completion``, from where the wheel takes them. A test compares.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tailcall_audit.analyzer.app.completion import completion, whole_parser

__all__ = ["files"]


def _manual_page() -> str:
    from argparse_manpage.manpage import Manpage

    page = str(Manpage(whole_parser(), format="single-commands-section"))
    title, rest = page.split("\n", 1)
    # Without the day on which it was made: the same parsers give the same page.
    return (
        f'.TH TAILCALL\\-AUDIT "1" "" "tailcall\\-audit" "User Commands"\n{rest}' if title.startswith(".TH ") else page
    )


def files() -> dict[str, str]:
    """Returns the files by their paths under ``docs``."""
    return {
        "man/tailcall-audit.1": _manual_page(),
        "completion/tailcall-audit.bash": completion("bash"),
        "completion/_tailcall-audit": completion("zsh"),
    }


def main() -> None:
    """Writes the files under the named folder."""
    for name, text in files().items():
        path = Path(sys.argv[1], name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
