"""Follow a run from another process and measure each checkpoint as it lands.

python -m examples.digits.evaluate RUN_DIR

Start it before, during or after the training; it ends when the training says that it is done.
"""

from __future__ import annotations

import argparse
import json
import sys

import ckptmgr
from examples.digits import data, model


def evaluate(prefix: str) -> tuple[int, float, float]:
    """Step, mean loss and accuracy of one checkpoint, on the test images."""
    # While it is held, the trainer's retention does not delete it under our hands.
    with ckptmgr.hold(prefix), ckptmgr.load_checkpoint(prefix) as reader:
        step = int(reader.get_tensor("global_step"))
        names = ("hidden", "hidden_bias", "output", "output_bias")
        params = {name: reader.get_tensor(f"params/{name}") for name in names}
    return (step, *model.evaluate(params, *data.load("test")))


def follow(run_dir: str, *, as_json: bool) -> None:
    """Print the measures of each checkpoint of a run, until the training is done."""
    with ckptmgr.CheckpointWatcher(run_dir, every=True) as watcher:
        for prefix in watcher:
            try:
                step, loss, accuracy = evaluate(prefix)
            except ckptmgr.errors.CheckpointNotFound:
                print(f"{prefix} was deleted before it could be held", file=sys.stderr)
                continue
            if as_json:
                print(json.dumps({"step": step, "loss": loss, "accuracy": accuracy}), flush=True)
            else:
                print(f"step {step:6}   loss {loss:.4f}   accuracy {accuracy:6.1%}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Evaluate each checkpoint of a run as it lands.")
    parser.add_argument("run_dir", help="where the checkpoints come")
    parser.add_argument("--json", action="store_true", help="print JSON, one line per checkpoint")
    arguments = parser.parse_args()
    try:
        follow(arguments.run_dir, as_json=arguments.json)
    except KeyboardInterrupt:
        raise SystemExit("stopped; start again to begin with the oldest checkpoint") from None


if __name__ == "__main__":
    main()
