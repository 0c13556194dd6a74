"""The calls that may fail although the operation succeeds, and why that is no false success."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from ckptmgr.storage import Call
from tests.durability.processes import DIRECTORY
from tests.durability.scenarios import Scenario


def reason(scenario: Scenario, calls: Sequence[Call], call: Call) -> str | None:
    """Why the operation may go on when this call fails; None if it must not.

    Args:
        calls: The trace that the call is in.
    """
    before = calls[: call.number - 1]
    if _state_is_durable(before) and scenario.saves is not None:
        return "the checkpoint is named for good; a later save ends what is left of deleting others"
    is_above = call.method == "sync_dir" and DIRECTORY.startswith(call.path.rstrip("/") + "/")
    if is_above and call.fault is not None and call.fault.error == errno.EACCES:
        return "a directory above that we may not read was there before, and is not ours to sync"
    is_final_shard = ".data-" in call.path and ".tmp-" not in call.path
    if call.method == "unlink" and is_final_shard and _index_is_durable(before):
        return "the new checkpoint is there; the sweep of the next writer removes the shards before"
    if call.method == "rename" and (call.source or "").endswith(".index"):
        return "an index that cannot be put aside is removed"
    if scenario.name.startswith("deduplicating") and _looks_for_links(before, call):
        return "what cannot be compared or linked is written"
    return None


def _state_is_durable(calls: Sequence[Call]) -> bool:
    named = [
        c.number for c in calls if c.method == "rename" and c.path == f"{DIRECTORY}/checkpoint"
    ]
    return bool(named) and _synced_after(calls, named[-1])


def _index_is_durable(calls: Sequence[Call]) -> bool:
    renamed = [c.number for c in calls if c.method == "rename" and c.path.endswith(".index")]
    return bool(renamed) and _synced_after(calls, renamed[-1])


def _synced_after(calls: Sequence[Call], number: int) -> bool:
    return any(c.method == "sync_dir" and c.number > number for c in calls)


def _looks_for_links(calls: Sequence[Call], call: Call) -> bool:
    """Whether it is about the earlier checkpoint's files, before anything is written."""
    is_shard_written = any(c.method == "create" and ".data-" in c.path for c in calls)
    is_of_link = "-of-00000.tmp-" in call.path
    is_earlier = (
        any(mark in call.path for mark in (".index", ".data-")) and ".tmp-" not in call.path
    )
    return is_of_link or (is_earlier and not is_shard_written)
