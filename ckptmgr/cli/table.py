"""Columns of text, laid out for a line of so many characters."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

_GAP = "  "
# Narrower, a text is harder to read wrapped than running over the edge.
_LEAST_WRAPPED_WIDTH = 16


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    cells: Sequence[str]
    #: As numbers stand.
    right: bool = False

    @property
    def width(self) -> int:
        return max(map(len, (self.title, *self.cells)))

    def justified(self, text: str) -> str:
        return text.rjust(self.width) if self.right else text.ljust(self.width)


def fits(columns: Sequence[Column], width: int) -> bool:
    """Whether no line of the table is longer than `width`."""
    return sum(column.width for column in columns) + len(_GAP) * (len(columns) - 1) <= width


def render(columns: Sequence[Column], width: int) -> list[str]:
    """The lines of a table: titles, then a line per row. The last column wraps at `width`."""
    *fixed, last = columns
    indent = sum(column.width + len(_GAP) for column in fixed)
    room = max(width - indent, _LEAST_WRAPPED_WIDTH)
    lines = []
    for row in range(-1, len(last.cells)):
        cells = [column.title if row < 0 else column.cells[row] for column in columns]
        start = "".join(c.justified(cell) + _GAP for c, cell in zip(fixed, cells, strict=False))
        end = last.justified(cells[-1]) if last.right else cells[-1]
        # Breaking a word would break a name.
        first, *more = textwrap.wrap(
            end, room, break_long_words=False, break_on_hyphens=False, drop_whitespace=True
        ) or [""]
        lines.append((start + (end if not more else first)).rstrip())
        lines += [" " * indent + text for text in more]
    return lines
