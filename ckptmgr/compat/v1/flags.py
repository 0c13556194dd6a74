"""`tf.flags`: absl's flags, which TensorFlow 1 took over from there, under the older names too.

absl is imported when a flag is first asked for; nothing else here needs it.

Source: tensorflow/python/platform/flags.py.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from ckptmgr import errors

#: TensorFlow's first names for arguments of absl's.
_OLD_ARGUMENTS = {"flag_name": "name", "default_value": "default", "docstring": "help"}


def imported_absl(module: str) -> ModuleType:
    """A module of absl.

    Raises:
        MissingExtra: It is not installed.
    """
    try:
        found = importlib.import_module(f"absl.{module}")
    except ImportError:
        raise errors.MissingExtra(
            f"tf.{module} is absl's, which is not installed: pip install absl-py"
        ) from None
    if module == "flags":
        # A flag is the program's that defines it, though it is defined from here.
        found.disclaim_key_flags()
    return found


class _Flags:
    """absl's FLAGS, which parse the command line when a value is asked for first."""

    def __getattr__(self, name: str) -> Any:
        values = imported_absl("flags").FLAGS
        if not name.startswith("_") and name in values and not values.is_parsed():
            values(sys.argv)
        return getattr(values, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(imported_absl("flags").FLAGS, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(imported_absl("flags").FLAGS, name)

    def __getitem__(self, name: str) -> Any:
        return imported_absl("flags").FLAGS[name]

    def __contains__(self, name: str) -> bool:
        return name in imported_absl("flags").FLAGS

    def __iter__(self) -> Iterator[str]:
        return iter(imported_absl("flags").FLAGS)

    def __len__(self) -> int:
        return len(imported_absl("flags").FLAGS)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return imported_absl("flags").FLAGS(*arguments, **options)


FLAGS = _Flags()


def _with_old_arguments(define: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(define)
    def function(*arguments: Any, **options: Any) -> Any:
        renamed = {_OLD_ARGUMENTS.get(name, name): value for name, value in options.items()}
        return define(*arguments, **renamed)

    return function


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(imported_absl("flags"), name)
    return _with_old_arguments(found) if name.startswith("DEFINE_") else found
