"""`python -m ckptmgr` is `ckptmgr`."""

from __future__ import annotations

import sys

from ckptmgr.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
