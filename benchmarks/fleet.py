"""The workers, seen from where they are told what to do. Only one works at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from benchmarks.contestants import CONTESTANTS, LIMITS, Contestant
from benchmarks.results import Results

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Much more than any single measurement takes.
_CALL_LIMIT_SECS = 300.0

# One thread for NumPy's matrices, so that the training loop leaves a core free. And libraries keep
# quiet, and away from accelerators: files are what is compared.
_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "JAX_PLATFORMS": "cpu",
    "CUDA_VISIBLE_DEVICES": "",
}


class Failed(Exception):
    """A contestant could not do what it was told."""


class Member:
    """One worker, which begins to import its library at once."""

    def __init__(self, contestant: Contestant) -> None:
        self.contestant = contestant
        self.abilities: frozenset[str] = frozenset()
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", contestant.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=REPOSITORY,
            env={**os.environ, **_ENVIRONMENT},
            text=True,
        )

    @property
    def name(self) -> str:
        return self.contestant.name

    def call(self, verb: str, **arguments: Any) -> Any:
        """Have a verb of `worker.Worker` done.

        Raises:
            Failed: It raised; or it took far too long, or died, and is of no use any more.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        limit = threading.Timer(_CALL_LIMIT_SECS, self._process.kill)
        limit.start()
        try:
            self._process.stdin.write(json.dumps({"verb": verb, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            limit.cancel()
        if not line:
            raise Failed(f"its process ended during {verb!r} (status {self._process.wait()})")
        answer = json.loads(line)
        if "failure" in answer:
            raise Failed(answer["failure"])
        return answer["answer"]

    def log(self) -> str:
        """What the worker and its libraries printed."""
        self._log.seek(0)
        return self._log.read()

    def close(self) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it died with a call unread
            self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._log.close()


class Fleet:
    """The workers of those who take part and could be made to work."""

    def __init__(self, names: Iterable[str], results: Results) -> None:
        self._results = results
        self._members = {name: Member(CONTESTANTS[name]) for name in names}

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for member in self._members.values():
            member.close()

    def rehearse(self, member: Member, run: str) -> None:
        """See that a worker works and brings back what it saves.

        Raises:
            Failed: It does not.
        """
        self._results.versions[member.contestant.distribution] = member.call("version")
        member.abilities = frozenset(member.call("can"))
        if member.name != LIMITS:
            member.call("rehearse", run=run)

    def has(self, name: str) -> bool:
        """Whether a contestant still takes part."""
        return name in self._members

    def everybody(self) -> list[Member]:
        return list(self._members.values())

    def members(self, section: str) -> list[Member]:
        """Those that take part in a section, the machine aside."""
        return [
            member
            for member in self._members.values()
            if member.name != LIMITS and member.contestant.only_in in ("", section)
        ]

    def limits(self) -> list[Member]:
        """The worker that measures the machine, if it takes part."""
        return [member for name, member in self._members.items() if name == LIMITS]

    def drop(self, member: Member, error: Failed) -> None:
        """Go on without a contestant, and remember why."""
        self._results.failures[member.name] = str(error)
        del self._members[member.name]
        member.close()
