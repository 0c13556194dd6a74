"""Follow a run from another process and measure each checkpoint as it lands.

python -m examples.digits.evaluate RUN_DIR

Start it before, during or after the training; it ends when the training says that it is done.
"""

from __future__ import annotations

import argparse
import json

import ckptmgr
from examples.digits import data, model


def main() -> None:
    parser = argparse.ArgumentParser(description="Evaluate each checkpoint of a run.")
    parser.add_argument("run_dir", help="where the checkpoints come")
    parser.add_argument("--json", action="store_true", help="print JSON, one line per checkpoint")
    arguments = parser.parse_args()
    images, labels = data.load("test")
    if not arguments.json:
        print(f"waiting for checkpoints in {arguments.run_dir}", flush=True)
    for prefix in ckptmgr.CheckpointWatcher(arguments.run_dir, every=True):
        # While it is held, the trainer's retention does not delete it under our hands.
        with ckptmgr.hold(prefix), ckptmgr.load_checkpoint(prefix) as reader:
            step = int(reader.get_tensor("global_step"))
            names = ["hidden", "hidden_bias", "output", "output_bias"]
            params = {name: reader.get_tensor(f"params/{name}") for name in names}
        loss, accuracy = model.evaluate(params, images, labels)
        if arguments.json:
            print(json.dumps({"step": step, "loss": loss, "accuracy": accuracy}), flush=True)
        else:
            print(f"step {step:6}   loss {loss:.4f}   accuracy {accuracy:6.1%}", flush=True)


if __name__ == "__main__":
    main()
