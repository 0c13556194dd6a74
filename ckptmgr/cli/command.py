"""What a subcommand is to the program."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO


@dataclass(frozen=True, slots=True)
class Command:
    name: str
    #: One line for `ckptmgr --help`, which also opens the command's own help.
    summary: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    #: Writes the answer; returns the exit status.
    run: Callable[[argparse.Namespace, TextIO], int]
