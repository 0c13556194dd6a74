"""The directory of a run, shared by any number of processes: its lock, its writers, holds and pins.

Every change to what exists or what the state names happens under one lock. Everything that must go
away with its owner is a lock file that the owner keeps locked: the kernel drops the lock when the
process dies, and whoever then gets the lock knows that the owner is gone.

    writers/<token>       a process that may have temporary files `*.tmp-<token>`
    holds/<base>.<token>  a process that reads checkpoint <base>

Such a file is created, tested and removed only under the directory's lock, so that nobody meets
one between its creation and its locking.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ckptmgr import arguments, errors, naming
from ckptmgr.bundle.checkpoint_reader import CheckpointReader
from ckptmgr.lifecycle import leftovers
from ckptmgr.lifecycle.directories import make_directory, make_durable, names_in
from ckptmgr.lifecycle.marks import Marks
from ckptmgr.storage import PosixStorage, Storage
from ckptmgr.storage.protocol import FileLock


class RunDirectory:
    """One process's view of a run's directory. Creates nothing before it is asked to write."""

    def __init__(self, storage: Storage, path: str) -> None:
        self.storage = storage
        self.path = path
        self.token = naming.new_token()
        #: Checkpoints that were saved over: a crash then may have left shards of both.
        self.replaced: set[str] = set()
        self._registered: FileLock | None = None
        # The threads that save, and whether a save has failed since we registered.
        self._entering = threading.Lock()
        self._saving: set[int] = set()
        self._has_failed = False
        self._process_id = os.getpid()
        self._working_directory = working_directory_of(path)

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def require(self) -> None:
        """Raise unless the directory is there.

        Raises:
            FileMissing, NotADirectory: Naming it.
        """
        self.refuse_file()
        if self.storage.stat(self.path) is None:
            raise errors.FileMissing(
                errno.ENOENT, f"directory {self.path} does not exist", self.path
            )

    def refuse_file(self) -> None:
        """Raise NotADirectory if something else has the directory's name."""
        info = self.storage.stat(self.path)
        if info is not None and not info.is_dir:
            meant = "a directory of checkpoints"
            if _is_of_checkpoints(naming.base_of(self.path)):
                meant = f"its directory {naming.directory_of(self.path)}"
            raise errors.NotADirectory(
                errno.ENOTDIR, f"{self.path} is a file; {meant} is wanted", self.path
            )
        if info is None and self.storage.stat(naming.index_file(self.path)) is not None:
            raise errors.NotADirectory(
                errno.ENOTDIR,
                f"{self.path} is the prefix of a checkpoint; its directory "
                f"{naming.directory_of(self.path)} is wanted",
                self.path,
            )

    def require_same_place(self) -> None:
        """Raise InvalidArgument if a relative path has come to mean another directory."""
        now = working_directory_of(self.path)
        if now != self._working_directory:
            raise errors.InvalidArgument(
                f"the working directory was {self._working_directory} and is {now} now, where "
                f"{self.path!r} is another directory; change back, or give an absolute path"
            )

    def create(self) -> None:
        """Make the directory and its parents, durably; again if it was removed meanwhile.

        Raises:
            InvalidArgument: The path is relative, and the working directory another one now.
            NotADirectory: A file stands in the way.
        """
        self.require_same_place()
        if self._was_removed():
            self._forget_registration()
        make_durable(self.storage, self.path)

    def refuse_removed(self) -> None:
        """Raise FileMissing if we registered as a writer, and the directory was removed since."""
        if self._was_removed():
            internal = naming.internal_directory(self.path)
            gone = self.path if self.storage.stat(self.path) is None else internal
            raise errors.FileMissing(
                errno.ENOENT, f"directory {gone} was removed while training saved into it", gone
            )

    def locked(self) -> FileLock:
        """The directory's lock, for a with-statement, which waits for other processes.

        Raises:
            FileMissing: We registered as a writer, and it was removed since. `create` begins anew.
            StorageError: What is ours in the directory is a link to somewhere else.
        """
        self.require_same_place()
        self.refuse_removed()
        self._prepare(naming.internal_directory(self.path))
        if self._registered is None:  # a writer has looked when it registered
            self._refuse_links()
        return self.storage.lock(naming.lock_file(self.path))

    def _refuse_links(self) -> None:
        # A directory that somebody else made may hold one. Where it leads, files that are nobody's
        # locks and marks would be removed as those of writers and readers that are gone.
        for directory in naming.internal_directories(self.path):
            info = self.storage.stat(directory)
            if info is not None and info.is_link:
                raise errors.StorageError(
                    errno.ELOOP,
                    f"{directory} is a link, and what it leads to is not to be changed; remove it",
                    directory,
                )

    # ----------------------------------------------------------------------- writers

    @property
    def is_registered(self) -> bool:
        """Whether others know of us: not in a fork, nor once somebody removed the directory."""
        return (
            self._registered is not None
            and not self._is_inherited
            and self.storage.stat(naming.writer_file(self.path, self.token)) is not None
        )

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Whatever a save in this block leaves behind should it fail, the next one removes.

        A save that fails removes what it wrote, but that may be refused as well, or interrupted.
        What stays has our token: nobody sweeps it while we live, and its name is taken for us.
        """
        thread = threading.get_ident()
        try:
            with self._entering:
                if self._is_inherited:
                    self._saving.clear()  # the threads of the parent
                self._saving.add(thread)
                is_alone = len(self._saving) == 1  # the others have our token, too
                if self._is_inherited or (self._has_failed and is_alone):
                    self._forget_registration()  # a new writer, to whom that of before is dead
                    self._has_failed = False
            yield
        except BaseException:
            self._has_failed = True
            raise
        finally:
            self._saving.discard(thread)

    def register_writer(self) -> None:
        """Tell others that temporary files with our token have an owner; the lock must be held.

        The first time, removes every temporary that has none.
        """
        if self.is_registered:
            return
        self._forget_registration()
        self._prepare(naming.writers_directory(self.path))
        lock = self.storage.lock(naming.writer_file(self.path, self.token))
        lock.acquire()
        self._registered = lock
        self._sweep()

    def _was_removed(self) -> bool:
        """Whether others no longer know of us because the directory, or ours in it, went away."""
        is_ours = self._registered is not None and not self._is_inherited
        return is_ours and not self.is_registered

    @property
    def _is_inherited(self) -> bool:
        """Whether we are in a fork of the process that made this object, or registered last."""
        return self._process_id != os.getpid()

    def _forget_registration(self) -> None:
        if self._registered is not None or self._is_inherited:
            registered, self._registered = self._registered, None
            self.token = naming.new_token()  # after a fork, the parent's token is the parent's
            self._process_id = os.getpid()
            if registered is not None:
                registered.release()

    def remove_leftovers(self) -> None:
        """Remove what writers left that have died meanwhile; the lock must be held.

        Costs one listing of a directory with one entry per writer, unless somebody died.
        """
        if any(self._is_dead(token) for token in self.writers()):
            self._sweep()

    def _sweep(self) -> None:
        writers = self.writers()
        dead = {token for token in writers if self._is_dead(token)}
        left = self.leftovers({*writers, self.token} - dead)
        if left:
            # What the dead did last may not be stable: an index that they renamed or removed must
            # not come back, or go, in a power cut, with its shards removed here.
            self.storage.sync_dir(self.path)
        for path in left:
            self._unlink(path)
        names = self.storage.list_dir(self.path)
        self.replaced |= leftovers.with_shards_of_several_counts(names)
        for token in dead:
            # Last: while this stands, a sweep that was cut off is done again. A writer that was
            # just closing may have removed it itself.
            self._unlink(naming.writer_file(self.path, token))

    def _is_dead(self, token: str) -> bool:
        lock = self.storage.lock(naming.writer_file(self.path, token))
        if not lock.try_acquire():
            return False
        lock.release()
        return True

    def writers(self) -> set[str]:
        """The tokens of the other writers, also of those that died."""
        names = self._names(naming.writers_directory(self.path))
        return {name for name in names if naming.is_token(name) and name != self.token}

    def living_writers(self) -> set[str]:
        """The tokens of the other writers that live; the lock must be held."""
        return {token for token in self.writers() if not self._is_dead(token)}

    def leftovers(self, living: set[str]) -> list[str]:
        """The files that writers have left behind, in the order in which they can be removed.

        Args:
            living: The tokens of writers whose files are not left behind.
        """
        return leftovers.left_behind(self.storage, self.path, living)

    # ----------------------------------------------------------------------- holds

    def held_bases(self) -> set[str]:
        """The checkpoints that a living process holds; the lock must be held."""
        held = set()
        for filename in self._names(naming.holds_directory(self.path)):
            parsed = naming.parse_hold(filename)
            if parsed is None or parsed[0] in held:
                continue
            path = os.path.join(naming.holds_directory(self.path), filename)
            lock = self.storage.lock(path)
            if lock.try_acquire():
                lock.release()
                self._unlink(path)  # its owner is gone
            else:
                held.add(parsed[0])
        return held

    @contextmanager
    def hold(self, base: str) -> Iterator[None]:
        """Keep one checkpoint from being deleted by anybody's retention.

        Raises:
            CheckpointNotFound: It was deleted before we could hold it.
        """
        path = naming.hold_file(self.path, base, naming.new_token())
        lock = self.storage.lock(path)
        holder_id = os.getpid()
        try:
            with self.locked():
                index = naming.index_file(os.path.join(self.path, base))
                if self.storage.stat(index) is None:
                    raise errors.CheckpointNotFound(f"cannot hold {index}: it does not exist")
                self._prepare(naming.holds_directory(self.path))
                lock.acquire()
            yield
        finally:
            if os.getpid() == holder_id:  # a fork that leaves the block ends nobody's hold
                lock.release()
                self._unlink(path)

    # ----------------------------------------------------------------------- marks on checkpoints

    @property
    def pins(self) -> Marks:
        """Checkpoints that the user wants to stay."""
        return Marks(self.storage, naming.pins_directory(self.path), durable=True)

    @property
    def publishing(self) -> Marks:
        """Checkpoints that exist, or are about to, and that the state may not list yet."""
        return Marks(self.storage, naming.publishing_directory(self.path), durable=False)

    @property
    def deleting(self) -> Marks:
        """Checkpoints that were given up; the state no longer lists them."""
        return Marks(self.storage, naming.deleting_directory(self.path), durable=False)

    # ----------------------------------------------------------------------- the end of training

    def mark_finished(self) -> None:
        """Tell followers that no checkpoint will come."""
        self._prepare(naming.internal_directory(self.path))
        with suppress(errors.FileExists):
            self.storage.create(naming.finished_file(self.path)).close()
        # Whoever made the inner directory may have been killed before it synced its name.
        for directory in (naming.internal_directory(self.path), self.path):
            self.storage.sync_dir(directory)

    def unmark_finished(self) -> None:
        self._unlink(naming.finished_file(self.path))

    def close(self) -> None:
        """Give up our registration as a writer; a second call does nothing."""
        if self._registered is not None and not self._is_inherited:
            self._registered.release()
            self._unlink(naming.writer_file(self.path, self.token))
        self._registered = None

    # ----------------------------------------------------------------------- names

    def _prepare(self, directory: str) -> None:
        make_directory(self.storage, directory)

    def _names(self, directory: str) -> list[str]:
        return names_in(self.storage, directory)

    def _unlink(self, path: str) -> None:
        with suppress(errors.FileMissing):
            self.storage.unlink(path)


def working_directory_of(path: str) -> str | None:
    """What a path is relative to; None for an absolute one."""
    if os.path.isabs(path):
        return None
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "a directory that was removed"


def _is_of_checkpoints(filename: str) -> bool:
    """Whether a file is called as a checkpoint state, an index or a data shard is."""
    stem = os.path.splitext(filename)[0]
    return (
        filename == naming.STATE_FILENAME
        or filename == naming.index_file(stem)
        or bool(naming.shards_of(stem, [filename]))
    )


@contextmanager
def hold(prefix: str | os.PathLike[str], *, storage: Storage | None = None) -> Iterator[str]:
    """While in the block, no process's retention deletes this checkpoint; yields the prefix.

    The hold goes away with its process, however that ends.

    Raises:
        CheckpointNotFound: There is no such checkpoint (any more).
    """
    text = arguments.path_text(prefix)
    storage = storage or PosixStorage()
    directory = RunDirectory(storage, naming.directory_of(text))
    directory.refuse_file()
    # Before the lock, which would make a directory that somebody has removed again.
    if storage.stat(naming.index_file(text)) is None:
        _explain_absence(storage, text)
    with directory.hold(naming.base_of(text)):
        yield text


def _explain_absence(storage: Storage, prefix: str) -> None:
    """Raise CheckpointNotFound with what a reader says of a prefix that has no index."""
    try:
        CheckpointReader(prefix, storage=storage).close()
    except errors.CheckpointNotFound as error:
        raise errors.CheckpointNotFound(f"cannot hold {prefix}: {error}") from None
    raise errors.CheckpointNotFound(
        f"cannot hold {prefix}: it is a V1 checkpoint, and those cannot be held"
    )
