from __future__ import annotations

import pytest

from ckptmgr.lifecycle.progress import Progress, RevocableProgress
from ckptmgr.lifecycle.steps import SaveInterval


@pytest.mark.parametrize(
    ("progress", "now_secs", "due"),
    [
        (Progress(), 0.0, True),
        (Progress(saved_secs=100.0), 159.0, False),
        (Progress(saved_secs=100.0), 160.0, True),
        # The clock was set back: it must not hold up saving until it has caught up.
        (Progress(saved_secs=100.0), 99.0, True),
        (Progress(saved_step=7, saved_secs=100.0), 1000.0, False),
    ],
)
def test_when_a_save_is_due(progress: Progress, now_secs: float, due: bool) -> None:
    assert progress.is_due(7, SaveInterval(secs=60.0), now_secs) is due


def test_a_save_counts_until_it_is_known_to_have_failed() -> None:
    failed: set[int] = set()
    progress = RevocableProgress(Progress(saved_secs=5.0))
    progress.update(seen_step=9)
    progress.saving(10, 100.0, lambda: 10 in failed)
    progress.update(seen_step=11)
    assert progress.now == Progress(11, 10, 100.0)
    failed.add(10)
    assert progress.now == Progress(9, None, 5.0)
    progress.update(seen_step=12)
    assert progress.now == Progress(12, None, 5.0)
    progress.saving(20, 200.0, lambda: 20 in failed)
    failed.add(20)
    progress.saving(30, 300.0, lambda: 30 in failed)
    assert progress.now == Progress(30, 30, 300.0)
    failed.add(30)
    progress.restored(7)
    assert progress.now == Progress(7, 7, 5.0)
