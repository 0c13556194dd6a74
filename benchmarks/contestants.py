"""Who takes part: how each is called, made, and which distribution its version is that of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

#: With what a training loop needs, for the package loads its parts when they are first used.
OUR_IMPORT = "from ckptmgr import CheckpointManager"

#: Sections that some contestants are for.
TRAINING = "training"
FROZEN = "frozen"

LIMITS = "limits"
OURS = "ckptmgr"
OURS_UNSYNCED = "ckptmgr-unsynced"
OURS_ASYNC = "ckptmgr-async"
OURS_JAX = "ckptmgr-jax"
OURS_TORCH = "ckptmgr-torch"
TENSORFLOW_CHECKPOINT = "tf-checkpoint"
SAFETENSORS = "safetensors"


@dataclass(frozen=True, slots=True)
class Contestant:
    name: str
    #: In tables and in the plot.
    words: str
    #: Module of `benchmarks.savers`, and the class in it.
    module: str
    kind: str
    distribution: str
    #: The statement by which its users import it.
    imports: str
    options: Mapping[str, Any] = field(default_factory=dict)
    is_async: bool = False
    #: What it saves is loaded like what another contestant saves.
    only_saves: bool = False
    #: The one section that it takes part in, if it does not in all.
    only_in: str = ""

    @property
    def is_ours(self) -> bool:
        return self.distribution == "ckptmgr"

    def make(self) -> Any:
        """Its saver; imports the library, so in a worker only."""
        return getattr(import_module(f"benchmarks.savers.{self.module}"), self.kind)(**self.options)


CONTESTANTS = {
    contestant.name: contestant
    for contestant in (
        Contestant(LIMITS, "the machine", "limits", "Limits", "numpy", "import numpy"),
        Contestant(OURS, "ckptmgr", "ours", "OurSaver", "ckptmgr", OUR_IMPORT),
        Contestant(
            OURS_UNSYNCED,
            'ckptmgr, durability="none"',
            "ours",
            "OurSaver",
            "ckptmgr",
            OUR_IMPORT,
            {"durability": "none"},
            only_saves=True,
        ),
        Contestant(
            OURS_ASYNC,
            "ckptmgr, asynchronous",
            "ours",
            "OurSaver",
            "ckptmgr",
            OUR_IMPORT,
            {"asynchronous": True},
            is_async=True,
            only_saves=True,
        ),
        Contestant(
            SAFETENSORS,
            "safetensors",
            "safetensors_file",
            "SafetensorsSaver",
            "safetensors",
            "import safetensors.numpy",
        ),
        Contestant(
            "tf-ops",
            "TensorFlow SaveV2/RestoreV2",
            "tensorflow_ops",
            "TensorFlowOpsSaver",
            "tensorflow_cpu",
            "import tensorflow",
        ),
        Contestant(
            TENSORFLOW_CHECKPOINT,
            "tf.train.Checkpoint",
            "tensorflow_checkpoint",
            "TensorFlowCheckpointSaver",
            "tensorflow_cpu",
            "import tensorflow",
        ),
        Contestant(
            "torch", "torch.save/load", "torch_file", "TorchFileSaver", "torch", "import torch"
        ),
        Contestant(
            "dcp",
            "torch DCP",
            "torch_dcp",
            "TorchDcpSaver",
            "torch",
            "import torch.distributed.checkpoint",
        ),
        Contestant(
            "dcp-async",
            "torch DCP, asynchronous",
            "torch_dcp",
            "TorchDcpSaver",
            "torch",
            "import torch.distributed.checkpoint",
            {"asynchronous": True},
            is_async=True,
            only_saves=True,
        ),
        Contestant(
            "orbax",
            "Orbax",
            "orbax_checkpointer",
            "OrbaxSaver",
            "orbax-checkpoint",
            "import orbax.checkpoint",
        ),
        Contestant(
            "orbax-async",
            "Orbax, asynchronous",
            "orbax_checkpointer",
            "OrbaxSaver",
            "orbax-checkpoint",
            "import orbax.checkpoint",
            {"asynchronous": True},
            is_async=True,
            only_saves=True,
        ),
        Contestant(
            "numpy",
            "numpy.savez/load",
            "numpy_archive",
            "NumpyArchiveSaver",
            "numpy",
            "import numpy",
        ),
        Contestant(
            OURS_JAX,
            "ckptmgr, asynchronous, JAX arrays",
            "ours",
            "OurJaxSaver",
            "ckptmgr",
            OUR_IMPORT,
            is_async=True,
            only_saves=True,
            only_in=TRAINING,
        ),
        Contestant(
            OURS_TORCH,
            "ckptmgr, asynchronous, PyTorch hook",
            "ours_torch",
            "OurTorchSaver",
            "ckptmgr",
            OUR_IMPORT,
            is_async=True,
            only_saves=True,
            only_in=TRAINING,
        ),
        Contestant(
            "ckptmgr-deduplicate",
            "ckptmgr, deduplicate=True",
            "ours",
            "OurSaver",
            "ckptmgr",
            OUR_IMPORT,
            {"deduplicate": True},
            only_saves=True,
            only_in=FROZEN,
        ),
        Contestant(
            "orbax-jax",
            "Orbax, asynchronous, JAX arrays",
            "orbax_checkpointer",
            "OrbaxSaver",
            "orbax-checkpoint",
            "import orbax.checkpoint",
            {"asynchronous": True, "jax_arrays": True},
            is_async=True,
            only_saves=True,
            only_in=TRAINING,
        ),
    )
}
