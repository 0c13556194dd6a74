"""MetaGraphs as files: binary, the text format or JSON.

Binary ones carry a checksum, which TensorFlow skips: a flipped bit in a tensor's name would else
restore another tensor's values, and nobody would know.

Source: tensorflow/python/framework/meta_graph.py (read_meta_graph_file), graph_io.py.
"""

from __future__ import annotations

import errno
import os

from google.protobuf import json_format, message, text_format

from ckptmgr import arguments, errors, naming
from ckptmgr._proto.meta_graph_pb2 import MetaGraphDef
from ckptmgr.formats.sealed_message import seal, unseal
from ckptmgr.graph.message_files import read_message_bytes
from ckptmgr.storage.atomic import replace_file
from ckptmgr.storage.posix import PosixStorage


def encode_meta_graph(meta_graph: MetaGraphDef, *, as_text: bool = False) -> bytes:
    """The content of a file: binary, with the same bytes each time, or the text format."""
    if as_text:
        return text_format.MessageToString(meta_graph).encode()
    try:
        return seal(meta_graph.SerializeToString(deterministic=True))
    except (message.EncodeError, ValueError):
        raise errors.GraphError(
            "a MetaGraph cannot be larger than 2 GB; keep large constants in variables"
        ) from None


def write_meta_graph(
    meta_graph: MetaGraphDef, filename: str | os.PathLike[str], *, as_text: bool = False
) -> str:
    """Write a MetaGraph to a file, which is made in one step, and return its path."""
    path = arguments.path_text(filename)
    data = encode_meta_graph(meta_graph, as_text=as_text)
    storage = PosixStorage()
    storage.make_dirs(naming.directory_of(path))
    temporary = naming.temporary(path, naming.new_token())
    replace_file(storage, path, data, temporary=temporary, durable=True)
    return path


def read_meta_graph_file(filename: str | os.PathLike[str]) -> MetaGraphDef:
    """Read a MetaGraph from a file: binary, the text format, or JSON.

    Raises:
        MalformedGraph: The file is none of these.
        ChecksumMismatch, TruncatedFile: It is damaged.
        StorageError: It cannot be read.
    """
    path = arguments.path_text(filename)
    try:
        data = read_message_bytes(PosixStorage(), path)
    except errors.FileMissing:
        problem = f"File does not exist. Received: {path}."
        raise errors.FileMissing(errno.ENOENT, problem, path) from None
    return decode_meta_graph(data, path=path)


def decode_meta_graph(data: bytes, *, path: str | None = None) -> MetaGraphDef:
    """The MetaGraph in the content of a file.

    Raises:
        MalformedGraph: There is none.
        ChecksumMismatch, TruncatedFile: It is damaged.
    """
    meta_graph = MetaGraphDef()
    try:
        data = unseal(data)
    except errors.CorruptCheckpoint as error:
        raise error.located(path=path) from None
    try:
        meta_graph.ParseFromString(data)
    except message.DecodeError:
        pass
    else:
        return meta_graph
    try:
        text = data.decode()
        if text.lstrip().startswith("{"):
            return json_format.Parse(text, MetaGraphDef(), ignore_unknown_fields=True)
        return text_format.Parse(text, MetaGraphDef())
    except (
        text_format.ParseError,
        json_format.ParseError,
        ValueError,
        RecursionError,
    ) as error:
        raise errors.MalformedGraph(
            f"neither a binary, a text nor a JSON MetaGraphDef ({error!s:.200})", path=path
        ) from None
