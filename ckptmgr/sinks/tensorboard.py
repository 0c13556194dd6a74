"""Figures of each save as scalars for TensorBoard.

Of the package `tensorboard` the messages and the framing of records are used. Not its
`EventFileWriter`: that one imports TensorFlow wherever it is installed. The file is opened anew for
each save, so that there is no thread, nothing to close, and a reader sees whole records at once.
"""

from __future__ import annotations

import io
import os
import secrets
import socket
import threading
import time

from ckptmgr import arguments, errors, events
from ckptmgr.sinks.combination import Listener, all_of
from ckptmgr.sinks.figures import Stalls, gb_per_sec

# What the first record of an event file says.
# Source: tensorflow/core/util/events_writer.h, EventsWriter::kCurrentVersion and kVersionPrefix.
_FILE_VERSION = "brain.Event:2"


def write_scalars(logdir: str | os.PathLike[str]) -> Listener:
    """A listener that writes `ckptmgr/save_secs` and other scalars, by step.

    Args:
        logdir: A local directory, made if it is not there. TensorBoard may follow only the newest
            file in a directory, so let nobody else write there.
    Raises:
        MissingExtra: `tensorboard` is not installed.
        StorageError: The directory cannot be written.
    """
    try:
        import tensorboard.summary.writer.record_writer  # noqa: F401 - it is there, or say so now
    except ImportError as error:
        raise errors.MissingExtra(
            "scalars for TensorBoard need tensorboard: pip install ckptmgr[tensorboard]"
        ) from error
    directory = arguments.path_text(logdir)
    try:
        os.makedirs(directory, exist_ok=True)
        scalars = _Scalars(_new_file(directory))
    except OSError as error:
        raise errors.StorageError.of(error, "write scalars to", directory) from error
    return all_of(scalars.note)


def _new_file(directory: str) -> str:
    # TensorBoard takes files with "tfevents" in their name, in the order of their names.
    owner = f"{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}"
    return os.path.join(directory, f"events.out.tfevents.{time.time():010.0f}.{owner}.ckptmgr")


class _Scalars:
    def __init__(self, path: str) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._path = path
        self._stalls = Stalls()
        # Two managers may share this listener, and their records must not interleave.
        self._lock = threading.Lock()
        self._append(Event(wall_time=time.time(), file_version=_FILE_VERSION).SerializeToString())

    def note(self, event: events.Event) -> None:
        self._stalls.note(event)
        if not isinstance(event, events.SaveCommitted):
            return
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        figures = {
            "save_secs": event.duration_secs,
            "size_bytes": event.size_bytes,
            "gb_per_sec": gb_per_sec(event),
            "stall_secs": self._stalls.end(event),
        }
        values = [
            Summary.Value(tag=f"ckptmgr/{name}", simple_value=figure)
            for name, figure in figures.items()
            if figure is not None
        ]
        record = Event(wall_time=time.time(), step=event.step, summary=Summary(value=values))
        self._append(record.SerializeToString())

    def _append(self, record: bytes) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        framed = io.BytesIO()
        RecordWriter(framed).write(record)
        # Unbuffered, so that no part of what failed is written when the file is closed.
        with self._lock, open(self._path, "ab", buffering=0) as file:
            whole_bytes = file.seek(0, os.SEEK_END)
            left = framed.getbuffer()
            try:
                while left:
                    left = left[file.write(left) :]
            except OSError:
                # TensorBoard reads nothing behind a record that is torn.
                file.truncate(whole_bytes)
                raise
