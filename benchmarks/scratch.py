"""Fresh directories to save in, and a quiet disk before each use."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager


class Scratch:
    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._count = 0

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """An empty directory, which is removed afterwards.

        Before and behind it the system writes back all that it holds: nobody pays for what another
        one wrote.
        """
        self._count += 1
        run = os.path.join(self.directory, f"run-{self._count}")
        os.mkdir(run)
        os.sync()
        try:
            yield run
        finally:
            shutil.rmtree(run)
            os.sync()
