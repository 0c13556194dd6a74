"""Columns of text, laid out for a line of so many characters."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

_GAP = "  "
# Narrower, a text is harder to read wrapped than running over the edge.
_LEAST_WRAPPED_WIDTH = 20


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    cells: Sequence[str]
    #: As numbers stand.
    right: bool = False
    #: Words that may go on in the next line.
    wraps: bool = False

    @property
    def width(self) -> int:
        return max(map(len, (self.title, *self.cells)))

    @property
    def least_width(self) -> int:
        if not self.wraps:
            return self.width
        longest_word = max(len(word) for cell in (self.title, *self.cells) for word in cell.split())
        return max(longest_word, min(self.width, _LEAST_WRAPPED_WIDTH))


def fits(columns: Sequence[Column], width: int) -> bool:
    """Whether the table can be laid out so that no line is longer than `width`."""
    return sum(column.least_width for column in columns) + _gaps(columns) <= width


def render(columns: Sequence[Column], width: int) -> list[str]:
    """The lines of a table: titles, then each row. It may run over the edge if it does not fit."""
    widths = _widths(columns, width)
    titles = [column.title for column in columns]
    rows = zip(*(column.cells for column in columns), strict=True)
    return [line for row in (titles, *rows) for line in _row(columns, row, widths)]


def _gaps(columns: Sequence[Column]) -> int:
    return len(_GAP) * (len(columns) - 1)


def _widths(columns: Sequence[Column], width: int) -> list[int]:
    """What each column gets: those that wrap have what they need, and share what is left."""
    spare = width - _gaps(columns) - sum(column.least_width for column in columns)
    wrapping = sum(column.wraps for column in columns)
    widths = []
    for column in columns:
        widths.append(column.least_width)
        if column.wraps and spare > 0:
            more = min(column.width - column.least_width, spare // wrapping)
            widths[-1] += more
            spare -= more
        wrapping -= column.wraps
    return widths


def _row(columns: Sequence[Column], cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    parts = [
        _wrapped(cell, width) if column.wraps else [cell]
        for column, cell, width in zip(columns, cells, widths, strict=True)
    ]
    return [
        _GAP.join(
            text.rjust(width) if column.right else text.ljust(width)
            for column, text, width in zip(columns, line, widths, strict=True)
        ).rstrip()
        for line in zip_longest(*parts, fillvalue="")
    ]


def _wrapped(text: str, width: int) -> list[str]:
    if len(text) <= width:
        return [text]
    # A name that is too long for a line stays whole.
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
