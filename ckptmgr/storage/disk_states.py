"""The states in which a cut of the power may leave a disk.

What is allowed:

* **Content.** A file whose content was synced has it. Changes since then are kept, lost, or kept in
  part: cut off between two calls or between two blocks of 4096 bytes, or with any one block as it
  was before (zeros, in a file that grew).
* **Names.** Each creation, link, rename and removal of a name since the last sync of its directory
  is kept or lost, independently of all others: a later one may be kept and an earlier one lost. A
  sync of a file does not keep its name, a sync of a directory keeps no content, and what is in a
  directory whose own name is lost is lost with it.
* **Renames are atomic**: the file has its old name or its new one, never both or none, and what had
  the new name before has lost it or not accordingly. Between two directories, the sync of the new
  name's directory decides.
* **Locks** are gone; the lock file is a name like others.

How much is enumerated is said by `Bounds`. Up to `max_operations` names that may be lost, every
combination is. Beyond, there are: all kept, all lost, each one alone lost, each one alone kept, and
`num_samples` combinations drawn with a seed; such a cut is not `exhaustive`. Each combination comes
with all content kept and with all unsynced content lost; torn content, of each file by itself while
all other content is kept, comes with the combination that keeps all names. Of a file with more than
`max_blocks` blocks to be torn, so many of them, evenly spread, are. States that an earlier cut had
already are not yielded again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress, product
from typing import TypeVar

from ckptmgr.storage.memory import MemoryStorage

#: What a disk and its file system write as one piece: the page of the system's cache.
BLOCK_BYTES = 4096

#: What the name of a directory leads to, in place of a file's number.
DIRECTORY = -1

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class DiskImage:
    """What is on a disk: directories, and files by absolute path."""

    directories: frozenset[str] = frozenset()
    #: The file that each name leads to; names of one number are links to one file.
    names: Mapping[str, int] = field(default_factory=dict)
    contents: Mapping[int, bytes] = field(default_factory=dict)

    def storage(self) -> MemoryStorage:
        """A disk of its own with this content."""
        storage = MemoryStorage()
        for directory in sorted(self.directories):
            storage.make_dirs(directory)
        first: dict[int, str] = {}
        for path, number in sorted(self.names.items()):
            if number in first:
                storage.link(first[number], path)
                continue
            first[number] = path
            file = storage.create(path)
            file.write([self.contents[number]], 0)
            file.close()
        return storage

    def read(self, path: str) -> bytes:
        """The content of a file; KeyError if there is none."""
        return self.contents[self.names[path]]

    def key(self) -> object:
        """Equal for images that no program can tell apart."""
        groups: dict[int, list[str]] = {}
        for path, number in self.names.items():
            groups.setdefault(number, []).append(path)
        files = frozenset((tuple(sorted(group)), self.contents[n]) for n, group in groups.items())
        return self.directories, files


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many of the states of one cut are looked at."""

    #: Of names that may be lost: up to so many, every combination is yielded.
    max_operations: int = 8
    #: Combinations drawn where there are more.
    num_samples: int = 64
    seed: int = 0
    #: The blocks of one file that are torn one by one.
    max_blocks: int = 8


@dataclass(frozen=True, slots=True)
class Named:
    """Names that lead elsewhere from now on, or nowhere, in one step; the first is the new one."""

    entries: tuple[tuple[str, int | None], ...]

    @property
    def directory(self) -> str:
        """The directory whose sync makes this stable."""
        return os.path.dirname(self.entries[0][0])


@dataclass(frozen=True, slots=True)
class Written:
    """A file's content from `offset` on; None for data makes the file end there."""

    number: int
    offset: int
    data: bytes | None


@dataclass(frozen=True, slots=True)
class SyncedFile:
    number: int


@dataclass(frozen=True, slots=True)
class SyncedDirectory:
    path: str


Change = Named | Written | SyncedFile | SyncedDirectory


class Disk:
    """What is stable, and what has been changed since."""

    def __init__(self, start: DiskImage) -> None:
        # The root and the working directory are there from the beginning, as in memory.
        known = {os.getcwd(), *start.directories, *map(os.path.dirname, start.names)}
        self._entries = dict.fromkeys(_with_ancestors(known), DIRECTORY)
        self._entries.update(start.names)
        self._pending: list[Named] = []
        self._contents = {number: _Content(data) for number, data in start.contents.items()}

    @property
    def num_pending(self) -> int:
        """The names whose last change may be lost."""
        return len(self._pending)

    def apply(self, change: Change) -> None:
        match change:
            case Named(entries):
                self._pending.append(change)
                number = entries[0][1]
                if number is not None and number != DIRECTORY:
                    self._contents.setdefault(number, _Content(b""))
            case Written(number, offset, data):
                self._contents[number].write(offset, data)
            case SyncedFile(number):
                self._contents[number].sync()
            case SyncedDirectory(path):
                _apply(self._entries, (op for op in self._pending if op.directory == path))
                self._pending = [op for op in self._pending if op.directory != path]

    def kept(self) -> DiskImage:
        """With all that was done."""
        return self._image(self._pending, {n: c.now for n, c in self._contents.items()})

    def synced(self) -> DiskImage:
        """Without anything that was not synced."""
        return self._image((), {n: c.synced for n, c in self._contents.items()})

    def possible(self, bounds: Bounds) -> Iterator[DiskImage]:
        """The states that a cut may leave; some more than once."""
        now = {number: content.now for number, content in self._contents.items()}
        synced = {number: content.synced for number, content in self._contents.items()}
        for kept in _combinations(self._pending, bounds):
            yield self._image(kept, now)
            yield self._image(kept, synced)
        for number, content in self._contents.items():
            for torn in content.torn(bounds.max_blocks):
                yield self._image(self._pending, {**now, number: torn})

    def _image(self, kept: Iterable[Named], contents: Mapping[int, bytes]) -> DiskImage:
        entries = dict(self._entries)
        _apply(entries, kept)
        directories = {"/"}
        for path in sorted(path for path, number in entries.items() if number == DIRECTORY):
            if os.path.dirname(path) in directories:
                directories.add(path)
        names = {
            path: number
            for path, number in entries.items()
            if number != DIRECTORY and os.path.dirname(path) in directories
        }
        used = {number: contents[number] for number in names.values()}
        return DiskImage(frozenset(directories), names, used)


class _Content:
    """The bytes of one file: those that are stable, and the changes since."""

    def __init__(self, synced: bytes) -> None:
        self.synced = synced
        self.now = synced
        #: The content behind each call since the last sync, but for the last.
        self._between: list[bytes] = []

    def write(self, offset: int, data: bytes | None) -> None:
        if self.now != self.synced:
            self._between.append(self.now)
        if data is None:
            self.now = _padded(self.now, offset)[:offset]
        elif data:
            self.now = _overlaid(self.now, offset, data)

    def sync(self) -> None:
        self.synced = self.now
        self._between.clear()

    def torn(self, max_blocks: int) -> Iterator[bytes]:
        """What may be left of the changes when neither all nor none of them are."""
        yield from _evenly(self._between, max_blocks)
        if self.now == self.synced:
            return
        size_bytes = len(self.now)
        old = _padded(self.synced, size_bytes)[:size_bytes]
        yield old  # as long as it is now, and nothing of it written
        starts = range(0, size_bytes, BLOCK_BYTES)
        changed = [at for at in starts if old[at:][:BLOCK_BYTES] != self.now[at:][:BLOCK_BYTES]]
        for at in _evenly(changed, max_blocks):
            yield _overlaid(self.now, at, old[at : at + BLOCK_BYTES])
            yield self.now[:at] + self.synced[at:]


def _apply(entries: dict[str, int], changes: Iterable[Named]) -> None:
    for change in changes:
        for path, number in change.entries:
            if number is None:
                entries.pop(path, None)
            else:
                entries[path] = number


def _combinations(pending: Sequence[Named], bounds: Bounds) -> Iterator[list[Named]]:
    """Which of the changes are kept, in their order."""
    if len(pending) <= bounds.max_operations:
        masks: Iterable[Sequence[bool]] = product((True, False), repeat=len(pending))
    else:
        masks = _sampled_masks(len(pending), bounds)
    for mask in masks:
        yield list(compress(pending, mask))


def _sampled_masks(size: int, bounds: Bounds) -> Iterator[list[bool]]:
    for rest in (True, False):
        yield [rest] * size
        for one in range(size):
            yield [rest if index != one else not rest for index in range(size)]
    import random

    dice = random.Random(f"{bounds.seed} {size}")  # noqa: S311 -- to be drawn again, not guarded
    for _ in range(bounds.num_samples):
        yield [dice.random() < 0.5 for _ in range(size)]


def _with_ancestors(paths: Iterable[str]) -> set[str]:
    found = {"/"}
    for path in paths:
        while path not in found:
            found.add(path)
            path = os.path.dirname(path)  # noqa: PLW2901 -- upwards
    return found


def _evenly(items: Sequence[_T], limit: int) -> list[_T]:
    """At most so many of the items, evenly spread, the first one among them."""
    count = min(limit, len(items))
    return [items[index * len(items) // count] for index in range(count)]


def _padded(data: bytes, size_bytes: int) -> bytes:
    return data + bytes(max(0, size_bytes - len(data)))


def _overlaid(data: bytes, offset: int, piece: bytes) -> bytes:
    data = _padded(data, offset)
    return data[:offset] + piece + data[offset + len(piece) :]
