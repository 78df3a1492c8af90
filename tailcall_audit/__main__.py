"""``python -m tailcall_audit``."""

import sys

from tailcall_audit.analyzer.app.main import main

if __name__ == "__main__":
    sys.exit(main())
