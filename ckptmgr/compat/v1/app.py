"""`tf.app`: running a program's `main`, with flags, by absl.

Source: tensorflow/python/platform/app.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from ckptmgr.compat.v1 import flags
from ckptmgr.compat.v1.namespaces import missing

__all__ = ["flags", "run"]


def run(main: Callable[[Any], Any] | None = None, argv: Sequence[str] | None = None) -> None:
    """Parse the flags, call `main` with what is left of the command line, and exit.

    Args:
        main: That of the program by default.
        argv: The command line, with the program's name.
    Raises:
        MissingExtra: absl is not installed.
    """
    app = flags.imported_absl("app")
    called: Any = main or sys.modules["__main__"].main
    app.run(called, argv=argv, flags_parser=_parsed)


def _parsed(argv: Sequence[str] | None) -> Any:
    """What is left when the flags that are known are taken, as TensorFlow leaves others alone."""
    return flags.FLAGS(list(sys.argv if argv is None else argv), known_only=True)


def __getattr__(name: str) -> Any:
    raise AttributeError(missing(f"{__name__}.{name}"))
