"""What a directory owes after its trainer was killed, and whether it is there.

A model of its own: it knows the trainer's lines and the retention that the trainer asked for, and
nothing of how a manager works.
"""

from __future__ import annotations

import os

import ckptmgr
from ckptmgr import naming
from ckptmgr.storage import PosixStorage
from tests.torture import trainer
from tests.torture.trainer import MAX_TO_KEEP
from tests.torture.training import UndisturbedRun


class PromiseBroken(AssertionError):
    """Something that had been promised is not so."""


class Promises:
    """What the directory owes after a kill, as far as the trainer's lines tell."""

    def __init__(self, directory: str, undisturbed: UndisturbedRun, frozen_bytes: int) -> None:
        self._directory = directory
        self._undisturbed = undisturbed
        self._frozen_bytes = frozen_bytes
        #: Acknowledged steps in the order of saving, the latest last, as far as they must be there.
        self.order: list[int] = []
        self.saved_by: dict[int, int] = {}
        self.in_flight: int | None = None
        #: There, never acknowledged, and not in the state yet: the next save lists them.
        self._unlisted: list[int] = []
        self._best_step: int | None = None
        self._preserved: set[int] = set()
        self._begun: set[int] = set()
        self._acknowledged = 0
        self.checked = 0

    def begin_attempt(self) -> None:
        self.in_flight = None
        self._begun.clear()
        self._acknowledged = 0

    def began(self, step: int) -> None:
        self.in_flight = step
        self._begun.add(step)

    def acknowledged(self, step: int, attempt: int) -> None:
        before = [*self.order, *self._unlisted]
        self._unlisted = []
        self.order = [*(other for other in before if other != step), step]
        self.saved_by[step] = attempt
        self.in_flight = None
        self._acknowledged += 1
        self._compete(step)

    def _compete(self, step: int) -> None:
        loss = self._undisturbed.loss
        if self._best_step is None or loss(step) <= loss(self._best_step):
            self._best_step = step

    def check(self, attempt: int, *, thorough: bool) -> bool:
        """Raise PromiseBroken unless all is as it must be; says whether what was in flight is."""
        self._check_lock()
        names = os.listdir(self._directory) if os.path.isdir(self._directory) else []
        on_disk = {naming.parse_step(base) for base in map(naming.prefix_of_index, names) if base}
        steps = {step for step in on_disk if step is not None}
        listed = self._listed()
        self._check_newest(listed, steps)
        self._check_retention(listed, steps)
        self._check_preserved(listed, steps)
        self._check_temporaries(names)
        visible = self._check_contents(attempt, steps if thorough else set(listed))
        # What was in flight may have a place in the state's order. If it is there and not listed,
        # it was never promised; but it takes part, and may be the best, from the next save on.
        self.order = listed
        published = self._marked(naming.publishing_directory(self._directory))
        self._unlisted = sorted((published & steps) - set(listed))
        if visible and self.in_flight is not None:
            self.saved_by[self.in_flight] = attempt
            self._compete(self.in_flight)
        return visible

    def _check_lock(self) -> None:
        if os.path.exists(naming.internal_directory(self._directory)):
            lock = PosixStorage().lock(naming.lock_file(self._directory))
            require(lock.try_acquire(), "the killed process left its lock behind")
            lock.release()

    def _listed(self) -> list[int]:
        state = ckptmgr.get_checkpoint_state(self._directory)
        if state is None:
            require(not self.order, f"the state is gone, and with it {self.order}")
            return []
        listed = [naming.parse_step(path) for path in state.all_model_checkpoint_paths]
        latest = naming.parse_step(state.model_checkpoint_path)
        require(listed[-1] == latest, f"latest is {latest}, the list ends with {listed[-1]}")
        return [step for step in listed if step is not None]

    def _check_newest(self, listed: list[int], steps: set[int]) -> None:
        if not self.order:
            return
        require(
            listed[-1] in {self.order[-1], self.in_flight},
            f"the state names {listed[-1]}, acknowledged was {self.order[-1]}, in flight "
            f"{self.in_flight}",
        )
        require(self.order[-1] in steps, f"acknowledged step {self.order[-1]} is gone")
        require(set(listed) <= steps, f"the state lists {listed}, on disk are {sorted(steps)}")

    def _check_retention(self, listed: list[int], steps: set[int]) -> None:
        wanted = self.order[-MAX_TO_KEEP:]
        if self.in_flight is not None:
            # It may have taken a place among the latest, and so may those that were unlisted.
            others = [step for step in (*self.order, *self._unlisted) if step != self.in_flight]
            kept = {*others[-(MAX_TO_KEEP - 1) :], self.in_flight}
            wanted = [step for step in wanted if step in kept]
        gone = [step for step in wanted if step not in listed or step not in steps]
        require(not gone, f"{gone} of the latest are gone; the state lists {listed}")
        loss = self._undisturbed.loss
        best = self._best_step
        if best is not None and best not in steps:
            better = self.in_flight is not None and loss(self.in_flight) <= loss(best)
            require(better, f"the best step {best} is gone")

    def _check_preserved(self, listed: list[int], steps: set[int]) -> None:
        gone = self._preserved - steps - self._begun
        require(not gone, f"steps {sorted(gone)} were preserved for good and are gone")
        going = self._marked(naming.deleting_directory(self._directory))
        coming = self._marked(naming.publishing_directory(self._directory))
        preserved = steps - set(listed) - going - coming
        stray = preserved - self._preserved - {*self.order, *self._unlisted}
        require(not stray, f"steps {sorted(stray)} are there, and no save will ever list them")
        self._preserved = preserved

    def _marked(self, directory: str) -> set[int]:
        bases = os.listdir(directory) if os.path.isdir(directory) else []
        return {step for step in map(naming.parse_step, bases) if step is not None}

    def _check_temporaries(self, names: list[str]) -> None:
        """The first save of an attempt sweeps what the attempts before it left."""
        if not self._acknowledged:
            return
        owners = {owner for owner in map(naming.owner_of_temporary, names) if owner}
        writers = set(os.listdir(naming.writers_directory(self._directory)))
        # What is being deleted bears a token of its own.
        require(
            len(writers) <= 1 and len(owners - writers) <= 1,
            f"temporaries of {sorted(owners)} after a save that should have removed them, "
            f"writers are {sorted(writers)}",
        )

    def _check_contents(self, attempt: int, steps: set[int]) -> bool:
        visible = False
        for step in sorted(steps | self._there()):
            digest, saved_by = trainer.restore_for_check(self._directory, step, self._frozen_bytes)
            self.checked += 1
            require(
                digest == self._undisturbed.digest(step),
                f"step {step} is not that of an undisturbed run",
            )
            if step == self.in_flight and saved_by == attempt:
                visible = True
            elif step in self.saved_by:
                require(
                    saved_by == self.saved_by[step],
                    f"step {step} is that of attempt {saved_by}, acknowledged was that of "
                    f"{self.saved_by[step]}",
                )
        return visible

    def _there(self) -> set[int]:
        """What was in flight, if it is there."""
        prefix = os.path.join(self._directory, f"model.ckpt-{self.in_flight}")
        if self.in_flight is None or not ckptmgr.checkpoint_exists(prefix):
            return set()
        return {self.in_flight}

    def check_end(self) -> None:
        """After an attempt that nobody killed: nothing is left over, and nothing too many."""
        names = os.listdir(self._directory)
        left = [name for name in names if naming.owner_of_temporary(name)]
        require(not left, f"temporaries are left: {left}")
        for directory in (
            naming.deleting_directory(self._directory),
            naming.publishing_directory(self._directory),
            naming.writers_directory(self._directory),
        ):
            require(not os.listdir(directory), f"{directory} is not empty")
        listed = self._listed()
        best = {self._best_step} - self._preserved
        wanted = {*self.order[-MAX_TO_KEEP:], *best}
        require(set(listed) == wanted, f"the state lists {listed}, wanted are {wanted}")
        shards = {name.partition(".data-")[0] for name in names if ".data-" in name}
        indexes = {naming.prefix_of_index(name) for name in names} - {None}
        require(shards == indexes, f"shards without an index: {shards ^ indexes}")


def require(is_so: bool, message: str) -> None:
    if not is_so:
        raise PromiseBroken(message)
