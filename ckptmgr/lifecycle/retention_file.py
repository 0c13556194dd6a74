"""The policy last used in a directory, for those who list it from outside.

Only a note: deleting is done by managers, with the policy that they were given.
"""

from __future__ import annotations

import json
from typing import Any

from ckptmgr import errors, naming
from ckptmgr.lifecycle.run_directory import RunDirectory
from ckptmgr.retention import AnyOf, BestN, EveryNHours, EveryNSteps, LatestN, Policy
from ckptmgr.storage import Storage, replace_file

# A policy takes some dozen bytes; a sparse file may have any length.
_MAX_BYTES = 2**20


def encode_policy(policy: Policy) -> list[dict[str, Any]]:
    """The parts of a policy as JSON; a policy of the user's own class by its repr."""
    match policy:
        case AnyOf(policies):
            return [part for inner in policies for part in encode_policy(inner)]
        case LatestN(n):
            return [{"latest": n}]
        case EveryNHours(hours):
            return [{"hours": hours}]
        case EveryNSteps(n):
            return [{"steps": n}]
        case BestN(metric, n, mode):
            return [{"best": metric, "n": n, "mode": mode}]
        case _:
            return [{"custom": repr(policy)}]


def decode_policy(parts: Any) -> Policy:
    """The inverse of `encode_policy`, as far as it knows the parts.

    Raises:
        MalformedState: It is no list of parts.
    """
    try:
        known = [policy for part in parts if (policy := _decode_part(part)) is not None]
    except (TypeError, AttributeError, errors.InvalidArgument):
        raise errors.MalformedState("the retention note does not parse") from None
    return AnyOf(tuple(known))


def _decode_part(part: dict[str, Any]) -> Policy | None:
    match part:
        case {"latest": n}:
            return LatestN(n)
        case {"hours": hours}:
            return EveryNHours(hours)
        case {"steps": n}:
            return EveryNSteps(n)
        case {"best": metric, "n": n, "mode": mode}:
            return BestN(metric, n, mode)
        case _:
            return None


def write(directory: RunDirectory, policy: Policy) -> None:
    """Note the policy; needs the lock. Not synced: it is made again by the next manager."""
    path = naming.retention_file(directory.path)
    replace_file(
        directory.storage,
        path,
        json.dumps(encode_policy(policy)).encode(),
        temporary=naming.temporary(path, directory.token),
        durable=False,
    )


def read(storage: Storage, directory: str) -> Policy | None:
    """The noted policy; None if there is no note, or none that can be used."""
    try:
        file = storage.open(naming.retention_file(directory))
    except errors.FileMissing:
        return None
    try:
        return decode_policy(json.loads(file.read(0, min(file.size_bytes, _MAX_BYTES))))
    except (ValueError, RecursionError, errors.MalformedState):
        return None
    finally:
        file.close()
