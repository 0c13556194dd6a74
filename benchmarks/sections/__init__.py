"""What is measured. Each section goes round those who take part, one measurement at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.fleet import Failed, Fleet, Member
from benchmarks.results import Results
from benchmarks.scratch import Scratch


@dataclass(frozen=True, slots=True)
class Bench:
    """What every section works with."""

    fleet: Fleet
    scratch: Scratch
    results: Results
    scale: float
    rounds: int
    #: Says what is going on.
    say: Callable[[str], None]

    def attempt(self, members: Iterable[Member], work: Callable[[Member], None]) -> None:
        """Do something with each contestant; one that fails is dropped, with the reason."""
        for member in members:
            try:
                work(member)
            except Failed as error:
                self.say(f"  {member.contestant.words}: {error}")
                self.fleet.drop(member, error)

    def attempt_rounds(
        self, section: str, rounds: int, members: list[Member], work: Callable[[Member], None]
    ) -> None:
        """Do something with each contestant in each round.

        Another one begins in each, so that no one always follows the same.
        """
        for number in range(rounds):
            self.say(f"{section}: round {number + 1} of {rounds}")
            start = number % max(1, len(members))
            turn = members[start:] + members[:start]
            self.attempt((member for member in turn if self.fleet.has(member.name)), work)

    @contextmanager
    def holding(self, member: Member, workload: str, scale: float) -> Iterator[None]:
        """Have a contestant hold a workload: one at a time, for each takes as much memory."""
        member.call("hold", workload=workload, scale=scale)
        yield
        member.call("release")

    @property
    def fewer_rounds(self) -> int:
        """For what takes long or scatters little."""
        return -(-self.rounds // 2)
