"""Opening files that belong together while another process may be replacing them.

A checkpoint's files are opened one after the other. If its prefix is saved again meanwhile, they
could come from two generations. So the files that decide which generation it is are looked at
before and after: only if they stayed the same do all that was opened belong to one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from ckptmgr import errors
from ckptmgr.storage.protocol import Storage

# How often a checkpoint may be replaced under us. Each try meets a newer one.
_ATTEMPTS = 20


class _Closable(Protocol):
    def close(self) -> None: ...


_Opened = TypeVar("_Opened", bound=_Closable)


def open_unchanged(
    storage: Storage, deciding: Sequence[str], open_all: Callable[[], _Opened]
) -> _Opened:
    """What `open_all` returns, or raises, at a time when no file of `deciding` was replaced.

    Raises:
        CheckpointNotFound: They never stayed the same for long enough.
    """
    for _ in range(_ATTEMPTS):
        before = _identities(storage, deciding)
        try:
            opened = open_all()
        except (errors.CorruptCheckpoint, errors.FileMissing):
            if _identities(storage, deciding) == before:
                raise
            continue
        if _identities(storage, deciding) == before:
            return opened
        opened.close()
    raise errors.CheckpointNotFound(
        f"{deciding[0]} was replaced {_ATTEMPTS} times while it was being opened"
    )


def _identities(storage: Storage, paths: Sequence[str]) -> list[tuple[int, ...] | None]:
    found = [storage.stat(path) for path in paths]
    return [info.identity if info else None for info in found]
