"""`python -m tests.torture`: real processes, killed and raced on a real file system."""

from __future__ import annotations

import argparse
import os
from functools import partial

# Before NumPy is loaded: its threads would not survive a fork, and would change sums.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    kills = commands.add_parser("kills", help="kill a trainer again and again")
    kills.add_argument("count", type=int, nargs="?", default=1000)
    kills.add_argument("--frozen-bytes", type=int, default=600_000)
    races = commands.add_parser("races", help="many processes on one directory")
    races.add_argument("secs", type=float, nargs="?", default=180.0)
    for command in (kills, races):
        command.add_argument("--seed", type=int, default=1)
        command.add_argument("--directory", help="where to make a temporary directory")
    train = commands.add_parser("train", help="one attempt; started by `kills`")
    train.add_argument("--settings", required=True)
    train.add_argument("--fd", type=int, required=True)
    undisturbed = commands.add_parser("undisturbed", help="the digest of a run without saving")
    undisturbed.add_argument("steps", type=int)
    undisturbed.add_argument("--frozen-bytes", type=int, required=True)
    _run(parser.parse_args())


def _run(arguments: argparse.Namespace) -> None:
    # Here, each for itself: the environment stands before NumPy is loaded.
    match arguments.command:
        case "kills":
            from tests.torture import kills

            kills.run(
                count=arguments.count,
                seed=arguments.seed,
                frozen_bytes=arguments.frozen_bytes,
                directory=arguments.directory,
            )
        case "races":
            from tests.torture import races

            races.run(secs=arguments.secs, seed=arguments.seed, directory=arguments.directory)
        case "train":
            from tests.torture import processes, trainer

            settings = trainer.Settings.decode(arguments.settings)
            processes.run_and_exit(partial(trainer.train, settings), arguments.fd)
        case "undisturbed":
            from tests.torture.training import Training

            training = Training(arguments.frozen_bytes)
            for _ in range(arguments.steps):
                training.advance()
            print(training.digest())


if __name__ == "__main__":
    main()
