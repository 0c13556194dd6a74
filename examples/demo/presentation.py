"""What the demo prints. The lines stay; a bar below them moves, where there is a terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from ckptmgr.lifecycle.listing import ListedCheckpoint

_GOOD, _BAD, _AGAIN = "✓", "✗", "↻"


class Presentation:
    """Prints the demo's story to one console."""

    def __init__(self, console: Console, steps: int) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("  {task.description}", style="dim"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("steps", total=steps)

    def __enter__(self) -> Presentation:
        self._progress.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._progress.stop()

    def opening(self, kills: int) -> None:
        self._print(
            f"[bold]A training that is killed {kills} times in the middle of a save[/]\n\n"
            "One process learns to read handwritten digits and saves as it goes; another one\n"
            "measures each checkpoint as it lands, on images that the first has never seen.\n\n"
            "[dim]    step     loss   accuracy[/]"
        )

    def evaluated(self, step: int, loss: float, accuracy: float) -> None:
        self._print(f"  {step:6,}   {loss:.4f}   {accuracy:8.1%}")
        self._progress.update(self._task, completed=step)

    def killed(self, step: int, when: str, latest: int, left_behind: Sequence[str]) -> None:
        still = "still " if latest < step else ""
        self._print(f"[red]{_BAD} killed at step {step:,} {when}: latest is {still}{latest:,}[/]")
        for filename in left_behind:
            self._print(f"[dim]  left behind: {_shortened(filename)}[/]")

    def restarted(self, step: int) -> None:
        self._print(f"[cyan]{_AGAIN} restarted from step {step:,}[/]")

    def checking(self) -> None:
        """The run is over; what follows takes a few seconds and says nothing."""
        self._progress.update(self._task, description="checking", total=None)

    def table(
        self, checkpoints: Sequence[ListedCheckpoint], accuracies: Mapping[int, float]
    ) -> None:
        """The checkpoints that are left; `accuracies` is what the evaluator found, by step."""
        table = Table(box=box.SIMPLE_HEAD, title="What is left, and why", title_justify="left")
        for name in ("step", "size", "age", "validation\naccuracy", "test\naccuracy"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("why it was kept")
        now_secs = time.time()
        for checkpoint in checkpoints:
            step = checkpoint.step or 0
            table.add_row(
                f"{step:,}",
                f"{checkpoint.size_bytes / 1024:.1f} KiB",
                f"{now_secs - checkpoint.saved_at_secs:.0f} s",
                f"{checkpoint.metrics['accuracy']:.1%}",
                f"{accuracies[step]:.1%}",
                checkpoint.kept_because,
                style="bold" if checkpoint.latest else "",
            )
        self._console.print()
        self._console.print(table)

    def confirmed(self, claim: str) -> None:
        self._print(f"[green]{_GOOD}[/] {claim}")

    def remark(self, what: str) -> None:
        self._print(f"[dim]- {what}[/]")

    def refuted(self, reason: str) -> None:
        self._console.print(Text(f"{_BAD} {reason}", style="bold red"))

    def _print(self, markup: str) -> None:
        self._console.print(markup, highlight=False)


def _shortened(filename: str) -> str:
    """Of the token that names a file's owner, the beginning is enough for a person."""
    name, mark, token = filename.partition(".tmp-")
    return f"{name}{mark}{token[:4]}…" if mark else name
