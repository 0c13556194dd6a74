from __future__ import annotations

from ckptmgr.cli.table import Column, fits, render

STEP = Column("STEP", ["1", "100"], right=True)
WHY = Column("WHY", ["newest", "one two three four five six"], wraps=True)
ALSO = Column("ALSO", ["alpha beta gamma delta epsilon", ""], wraps=True)


def test_columns_align() -> None:
    assert render([STEP, WHY], 80) == [
        "STEP  WHY",
        "   1  newest",
        " 100  one two three four five six",
    ]


def test_words_go_on_in_the_next_line() -> None:
    assert render([STEP, WHY], 27) == [
        "STEP  WHY",
        "   1  newest",
        " 100  one two three four",
        "      five six",
    ]


def test_two_columns_share_what_is_left() -> None:
    assert render([STEP, WHY, ALSO], 48) == [
        "STEP  WHY                   ALSO",
        "   1  newest                alpha beta gamma",
        "                            delta epsilon",
        " 100  one two three four",
        "      five six",
    ]


def test_nothing_is_cut_where_there_is_no_room() -> None:
    long = Column("NAME", ["a/very/long/name/of/a/tensor"], wraps=True)
    assert render([long], 10) == ["NAME", "a/very/long/name/of/a/tensor"]


def test_fits() -> None:
    assert fits([STEP, WHY], 26)
    assert not fits([STEP, WHY], 25)
    assert fits([STEP, STEP], 10)
    assert not fits([STEP, STEP], 9)
