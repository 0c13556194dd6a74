"""`tf.ConfigProto` and its like: options of TensorFlow's runtime, which are taken and not used.

Source: tensorflow/core/protobuf/config.proto.
"""

from __future__ import annotations

from typing import Any


class Options:
    """Any options, and options of options: `config.gpu_options.allow_growth = True`."""

    def __init__(self, **options: Any) -> None:
        vars(self).update(options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return vars(self).setdefault(name, Options())


class ConfigProto(Options):
    """Options of a session, which takes nothing else for them."""


class RunOptions(Options):
    """Options of one run."""

    NO_TRACE, SOFTWARE_TRACE, HARDWARE_TRACE, FULL_TRACE = range(4)


GPUOptions = GraphOptions = RunMetadata = Options
