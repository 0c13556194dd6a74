from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from ckptmgr.graph.kept import KEPT, Kept


def test_the_last_are_kept() -> None:
    kept: Kept[int] = Kept()
    made: list[int] = []

    def get(key: int) -> int:
        return kept.get(key, lambda: made.append(key) or key)  # type: ignore[func-returns-value]

    assert [get(key) for key in (1, 2, 1)] == [1, 2, 1]
    assert made == [1, 2]
    for key in range(3, KEPT + 2):
        get(key)
    assert [get(key) for key in (2, 1)] == [2, 1]
    assert made == [*range(1, KEPT + 2), 1]
    kept.clear()
    assert get(2) == 2
    assert made[-1] == 2


class Key:
    """Lets other threads run whenever a dict looks for it."""

    def __hash__(self) -> int:
        time.sleep(0)
        return id(self)


def test_threads_that_drop_what_is_old() -> None:
    """Two found the same one to be the oldest."""
    kept: Kept[int] = Kept()

    def work(number: int) -> None:
        for _ in range(KEPT):
            assert kept.get(Key(), lambda: number) == number

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
