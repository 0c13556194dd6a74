"""The memory of the copies that background saves write."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from ckptmgr.bundle.layout import plan_bundle
from ckptmgr.bundle.staging import StagingBuffer

# In a process of its own: a test worker may have loaded what does not survive a fork.
FORK = """
import os
import numpy as np
from ckptmgr.bundle.layout import plan_bundle
from ckptmgr.bundle.staging import StagingBuffer

buffer = StagingBuffer()

def copy(value):
    plan = plan_bundle([{"w": np.full(10_000, value, np.uint8)}])
    return buffer.copy(plan, lambda _: False).shards[0].image

image = copy(1)
child = os.fork()
if not child:
    os._exit(int(set(bytes(copy(2)[:10_000])) != {2}))
_, status = os.waitpid(child, 0)
print(status, set(bytes(image[:10_000])))
"""


def test_a_fork_that_saves_leaves_the_copy_of_its_parent_alone() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FORK], check=True, timeout=60, capture_output=True, text=True
    )
    assert ended.stdout.split() == ["0", "{1}"]


def test_nothing_to_copy() -> None:
    plan = plan_bundle([{"a": np.zeros(0)}, {}])
    assert StagingBuffer().copy(plan, lambda _: False).data_bytes == 0
