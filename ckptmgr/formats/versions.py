"""Whether this package may read what some producer wrote.

A file carries the version of its producer, the oldest consumer that may read it, and single
consumers that must not. V1 and V2 checkpoints are both at version 1 and always were.

Source: tensorflow/core/framework/versions.cc, TF_CHECKPOINT_VERSION in
tensorflow/core/public/version.h, kTensorBundleVersion in
tensorflow/core/util/tensor_bundle/tensor_bundle.h.
"""

from __future__ import annotations

from ckptmgr._proto.versions_pb2 import VersionDef
from ckptmgr.errors import UnsupportedVersion

CHECKPOINT_VERSION = 1


def check_checkpoint_version(version: VersionDef) -> None:
    """Raise unless a checkpoint of this version may be read; a missing one is producer 0.

    Raises:
        UnsupportedVersion: The file asks for a later reader, or excludes this one.
    """
    if version.producer < 0:
        raise UnsupportedVersion(
            "checkpoint producer version below the oldest supported",
            expected="at least 0",
            found=version.producer,
        )
    if version.min_consumer > CHECKPOINT_VERSION:
        raise UnsupportedVersion(
            "checkpoint min consumer version above current version, please upgrade ckptmgr",
            expected=f"at most {CHECKPOINT_VERSION}",
            found=version.min_consumer,
        )
    if CHECKPOINT_VERSION in version.bad_consumers:
        raise UnsupportedVersion(
            "checkpoint disallows this consumer version, please upgrade ckptmgr",
            expected="a consumer that is not in bad_consumers",
            found=CHECKPOINT_VERSION,
        )
