"""What a subcommand is to the program, and how command lines are told what to expect."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
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


def add_commands(
    parser: argparse.ArgumentParser, commands: Sequence[Command], *, dest: str, required: bool
) -> None:
    """Let the command line go on with one of `commands`, which becomes its attribute `dest`."""
    parser.set_defaults(**{dest: None})
    choices = parser.add_subparsers(title="commands", metavar="COMMAND", required=required)
    for command in commands:
        # argparse fills in %-formats, which a summary has none of.
        description = f"{command.summary[0].upper()}{command.summary[1:]}."
        subparser = choices.add_parser(command.name, help=command.summary, description=description)
        command.add_arguments(subparser)
        subparser.set_defaults(**{dest: command})


def add_flag(parser: argparse.ArgumentParser, name: str, text: str) -> None:
    """A switch as TensorFlow's tools have them: `--all`, `--all=true`, `--all=false`."""
    parser.add_argument(
        name, nargs="?", const=True, default=False, type=_is_true, metavar="BOOL", help=text
    )


def _is_true(text: str) -> bool:
    values = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
    try:
        return values[text.casefold()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false") from None
