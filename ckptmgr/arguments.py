"""Arguments that any layer takes: made what they should be, or refused in the same words."""

from __future__ import annotations

import math
import numbers
import operator
import os
from contextlib import suppress
from typing import SupportsIndex, cast

from ckptmgr import errors


def path_text(path: str | os.PathLike[str]) -> str:
    """`path` as str; raises InvalidArgument for anything that is not a path."""
    try:
        text = os.fspath(path)
    except TypeError:
        raise errors.InvalidArgument(
            f"a path must be a str or os.PathLike, found {type(path).__name__}"
        ) from None
    if not isinstance(text, str):
        raise errors.InvalidArgument(f"a path must be text, found bytes {text!r}")
    if not text:
        raise errors.InvalidArgument("a path must not be empty")
    if text.startswith("~"):
        # Taken as it is, it would make a directory called ~.
        raise errors.InvalidArgument(
            f"path {text!r} begins with ~, which only a shell expands; use os.path.expanduser "
            f"(or ./~ for a name that does begin so)"
        )
    return text


def whole_number(name: str, value: object, *, least: int = 1, also: str = "") -> int:
    """`value`, an int or what counts as one, as an int; otherwise raises InvalidArgument.

    Args:
        name: What the user calls the argument.
        also: What else it may be, for the message: " or None".
    """
    number = least - 1
    # By name: NumPy's bool is none of Python's, and older versions of it still pass for an index.
    if type(value).__name__ not in {"bool", "bool_"}:
        with suppress(TypeError):
            number = operator.index(cast(SupportsIndex, value))
    if number < least:
        kind = "a positive integer" if least == 1 else f"an integer of at least {least}"
        raise errors.InvalidArgument(f"{name} must be {kind}{also}, found {value!r:.80}")
    return number


def real_number(name: str, value: object, *, zero: bool = False, also: str = "") -> float:
    """`value`, a number above zero, as an int or a float; otherwise raises InvalidArgument.

    Infinity is one; an int that is too large for a float is not.

    Args:
        name: What the user calls the argument.
        zero: Whether it may be zero.
        also: What else it may be, for the message: " or None".
    """
    number = math.nan
    if not isinstance(value, bool) and isinstance(value, numbers.Real):
        with suppress(OverflowError):
            number = float(value)
    if not (number >= 0 if zero else number > 0):
        kind = "a number of at least zero" if zero else "a positive number"
        raise errors.InvalidArgument(f"{name} must be {kind}{also}, found {value!r:.80}")
    return value if isinstance(value, int | float) else number
