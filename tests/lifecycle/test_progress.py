from __future__ import annotations

import pytest

from ckptmgr.lifecycle.progress import Progress
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
