"""The `checkpoint` file: a CheckpointState in protobuf's text format, in UTF-8.

    model_checkpoint_path: "model.ckpt-200"
    all_model_checkpoint_paths: "model.ckpt-100"
    all_model_checkpoint_paths: "model.ckpt-200"
    all_model_checkpoint_timestamps: 1795150342.25
    all_model_checkpoint_timestamps: 1795150343.8885238
    last_preserved_timestamp: 1795150340.5

protobuf's own printer and parser do the work, so that the bytes are TensorFlow's and everything
that TensorFlow reads (comments, either quote, octal escapes, lists) is read.

Source: docs/formats/checkpoint-state.md; tensorflow/python/training/checkpoint_state.proto,
tensorflow/python/checkpoint/checkpoint_management.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf import text_format

from ckptmgr._proto import checkpoint_state_pb2
from ckptmgr.errors import InvalidName, MalformedState

# Enough of a damaged line to recognise it by.
_MAX_QUOTED_CHARS = 120


@dataclass(frozen=True, slots=True)
class CheckpointState:
    """What a directory's `checkpoint` file says; timestamps are seconds since the epoch."""

    model_checkpoint_path: str
    all_model_checkpoint_paths: tuple[str, ...] = ()
    all_model_checkpoint_timestamps: tuple[float, ...] = ()
    last_preserved_timestamp: float = 0.0


def encode_checkpoint_state(state: CheckpointState) -> bytes:
    """Encode a state into the bytes that TensorFlow would write.

    Raises:
        InvalidName: A path is not valid Unicode, which the text format cannot hold.
    """
    for path in (state.model_checkpoint_path, *state.all_model_checkpoint_paths):
        try:
            path.encode()
        except UnicodeEncodeError:
            raise InvalidName(
                f"a checkpoint state holds UTF-8 only, which {path!r} is not"
            ) from None
    message = checkpoint_state_pb2.CheckpointState(
        model_checkpoint_path=state.model_checkpoint_path,
        all_model_checkpoint_paths=state.all_model_checkpoint_paths,
        all_model_checkpoint_timestamps=state.all_model_checkpoint_timestamps,
        last_preserved_timestamp=state.last_preserved_timestamp,
    )
    # Said explicitly: by default, protobuf 4 writes octal escapes.
    return text_format.MessageToString(message, as_utf8=True).encode()


def decode_checkpoint_state(data: bytes) -> CheckpointState:
    """Decode the content of a `checkpoint` file; an empty path in it is the caller's to judge.

    Raises:
        MalformedState: It does not parse, names a field that TensorFlow does not know (which makes
            TensorFlow ignore the file, too), or is not UTF-8.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise MalformedState(
            f"line {number} of the checkpoint state does not parse",
            expected="UTF-8",
            found=_quoted(data.split(b"\n")[number - 1]),
        ) from None
    message = checkpoint_state_pb2.CheckpointState()
    try:
        # Merge, as TensorFlow: a scalar field that stands twice has its last value.
        text_format.Merge(text, message)
    except text_format.ParseError as error:
        number = error.GetLine() or 1
        raise MalformedState(
            f"line {number} of the checkpoint state does not parse ({error!s:.200})",
            expected="a field of CheckpointState in protobuf text format",
            found=_quoted(text.split("\n")[number - 1]),
        ) from None
    return CheckpointState(
        model_checkpoint_path=message.model_checkpoint_path,
        all_model_checkpoint_paths=tuple(message.all_model_checkpoint_paths),
        all_model_checkpoint_timestamps=tuple(message.all_model_checkpoint_timestamps),
        last_preserved_timestamp=message.last_preserved_timestamp,
    )


def _quoted(line: str | bytes) -> str:
    return repr(line[:_MAX_QUOTED_CHARS])
