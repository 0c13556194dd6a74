"""Train, saving every so often; started again, go on where it stopped.

python -m examples.digits.train RUN_DIR --steps 10000 --every 500
"""

from __future__ import annotations

import argparse

import ckptmgr
from ckptmgr.storage import Storage
from examples.digits import data, model


def train(run_dir: str, *, steps: int, every: int, storage: Storage | None = None) -> None:
    """Train up to step `steps`, from the latest checkpoint if there is one."""
    images, labels = data.load("train")
    validation = data.load("validation")
    state = model.initial_state(seed=0)
    with ckptmgr.CheckpointManager(
        state,
        run_dir,
        save_interval_steps=every,
        max_to_keep=5,
        keep_every_n_steps=4 * every,
        keep_best=ckptmgr.retention.BestN("accuracy", mode="max"),
        storage=storage,
    ) as manager:
        try:
            restored = manager.restore()  # fills `state`
            if restored is not None:
                print(f"restored step {restored.step} from {restored.path}", flush=True)
            while state["global_step"] < steps:
                model.train_step(state, images, labels)
                step = state["global_step"]
                if step == steps or manager.should_save(step):
                    loss, accuracy = model.evaluate(state["params"], *validation)
                    manager.save(
                        step,
                        metrics={"loss": loss, "accuracy": accuracy},
                        metadata={"learning_rate": model.LEARNING_RATE},
                        force=True,
                    )
                    print(f"saved step {step}: loss {loss:.4f}", flush=True)
        except KeyboardInterrupt:
            step = state["global_step"]
            raise SystemExit(f"stopped at step {step}; start again to go on") from None
        manager.finish()  # tells evaluators that nothing more will come


def main() -> None:
    parser = argparse.ArgumentParser(description="Train on handwritten digits.")
    parser.add_argument("run_dir", help="where the checkpoints go")
    parser.add_argument("--steps", type=int, default=10_000, help="train up to this step")
    parser.add_argument("--every", type=int, default=500, help="save every so many steps")
    arguments = parser.parse_args()
    train(arguments.run_dir, steps=arguments.steps, every=arguments.every)


if __name__ == "__main__":
    main()
