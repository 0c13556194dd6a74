"""What `saved-model run` is given to feed: files, Python literals and tf.Examples.

    --inputs          key=file.npy;key=file.npz[name]
    --input_exprs     key=[[1.0, 2.0]];key="text"
    --input_examples  key=[{"feature": [1.0]}, ...]

Each overrides the ones before it. Expressions are literals, and nothing is evaluated; a pickle,
which runs whatever its author wrote, is only read where that was asked for.

Source: tensorflow/python/tools/saved_model_cli.py, whose words these are.
"""

from __future__ import annotations

import ast
import io
import logging
import pickle
import re
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Any

import numpy as np

from ckptmgr import errors
from ckptmgr._proto.example_pb2 import Example
from ckptmgr.storage.posix import PosixStorage

_log = logging.getLogger(__name__)

_MEMBER = re.compile(r"([^=]+)=([^\[\]]+)\[([^\[\]]+)\]$")
_FILE = re.compile(r"([^=]+)=([^\[\]]+)$")

# How the files that NumPy writes begin; whatever else there is would have to be a pickle.
_NPY_MAGIC = b"\x93NUMPY"
_NPZ_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")


def read_inputs(
    inputs: str, input_exprs: str, input_examples: str, *, allow_pickle: bool = False
) -> dict[str, Any]:
    """The values to feed, by the key of the input.

    Raises:
        InvalidArgument: An option is not of its form, or a file does not hold what it asks for.
        StorageError: A file cannot be read.
    """
    literals = parse_exprs(input_exprs)
    examples = parse_examples(input_examples)
    values: dict[str, Any] = {}
    for key, (filename, name) in parse_files(inputs).items():
        values[key] = read_input(filename, name, allow_pickle=allow_pickle)
    _warn_of(literals, values, "with both --inputs and --input_exprs options", "--input_exprs")
    values.update(literals)
    _warn_of(examples, values, "in multiple options", "--input_examples")
    values.update(examples)
    return values


def _warn_of(new: Iterable[str], known: Mapping[str, Any], how: str, used: str) -> None:
    for key in new:
        if key in known:
            _log.warning(
                "input_key %s has been specified %s. Value in %s will be used.", key, how, used
            )


# --------------------------------------------------------------------------- the options


def parse_files(text: str) -> dict[str, tuple[str, str | None]]:
    """`a=x.npy;b=y.npz[n]` -> {"a": ("x.npy", None), "b": ("y.npz", "n")}."""
    found: dict[str, tuple[str, str | None]] = {}
    for item in filter(None, text.split(";")):
        member, file = _MEMBER.match(item), _FILE.match(item)
        if member:
            found[member[1]] = member[2], member[3]
        elif file:
            found[file[1]] = file[2], None
        else:
            raise errors.InvalidArgument(
                f'--inputs "{item}" format is incorrect. Please follow'
                f'"<input_key>=<filename>", or"<input_key>=<filename>[<variable_name>]"'
            )
    return found


def parse_exprs(text: str) -> dict[str, Any]:
    """`a=[1, 2];b="x"` -> {"a": [1, 2], "b": "x"}. A literal cannot hold a semicolon."""
    found = {}
    for item in filter(None, text.split(";")):
        key, equals, literal = item.partition("=")
        if not equals:
            raise errors.InvalidArgument(
                f'--input_exprs "{text}" format is incorrect. Please follow'
                f'"<input_key>=<python expression>"'
            )
        try:
            found[key] = ast.literal_eval(literal)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            raise errors.InvalidArgument(
                f'Expression "{literal}" is not a valid python literal.'
            ) from None
    return found


def parse_examples(text: str) -> dict[str, list[bytes]]:
    """Lists of dicts of features, as serialized tf.Examples."""
    found = {}
    for key, examples in parse_exprs(text).items():
        if not isinstance(examples, list):
            raise errors.InvalidArgument(
                f'tf.Example input must be a list of dictionaries, but "{examples}" is '
                f"{type(examples)}"
            )
        found[key] = [_example(features) for features in examples]
    return found


def _example(features: Any) -> bytes:
    if not isinstance(features, dict):
        raise errors.InvalidArgument(
            f"a tf.Example must be a dictionary of features, found {features!r}"
        )
    example = Example()
    for name, values in features.items():
        if not isinstance(values, list) or not values:
            raise errors.InvalidArgument(
                f'feature value must be a list, but {name}: "{values}" is {type(values)}'
            )
        _add_feature(example.features.feature[str(name)], values)
    return example.SerializeToString(deterministic=True)


def _add_feature(feature: Any, values: list[Any]) -> None:
    """The first value tells the kind, as in TensorFlow's tool."""
    first = values[0]
    try:
        if isinstance(first, float):
            feature.float_list.value.extend(values)
        elif isinstance(first, str):
            feature.bytes_list.value.extend([value.encode() for value in values])
        elif isinstance(first, bytes):
            feature.bytes_list.value.extend(values)
        elif isinstance(first, int):
            feature.int64_list.value.extend(values)
        else:
            raise errors.InvalidArgument(
                f"Type {type(first)} for value {first} is not supported for tf.train.Feature."
            )
    except (TypeError, ValueError, AttributeError) as error:
        if isinstance(error, errors.InvalidArgument):
            raise
        raise errors.InvalidArgument(
            f"the values {values} of a feature are not all of one kind: {error}"
        ) from None


# --------------------------------------------------------------------------- the files


def read_input(filename: str, name: str | None, *, allow_pickle: bool) -> Any:
    """The array in a file, by its name where the file has several.

    Raises:
        InvalidArgument: It is not there, or one must be chosen, or the file is a pickle.
        StorageError: The file cannot be read.
    """
    with closing(PosixStorage().open(filename)) as file:
        data = file.read(0, file.size_bytes)
    if data.startswith(_NPZ_MAGIC):
        return _member(filename, data, name)
    if not data.startswith(_NPY_MAGIC):
        return _unpickled(filename, data, name, allow_pickle=allow_pickle)
    if name is not None:
        _log.warning(
            'Input file %s contains a single ndarray. Name key "%s" ignored.', filename, name
        )
    return _loaded(filename, data)


def _member(filename: str, data: bytes, name: str | None) -> Any:
    archive = _loaded(filename, data)
    if name is None:
        if len(archive.files) != 1:
            raise errors.InvalidArgument(
                f"Input file {filename} contains more than one ndarrays. Please specify the name "
                f"of ndarray to use."
            )
        name = archive.files[0]
    if name not in archive.files:
        raise _lacks(filename, name)
    try:
        return archive[name]
    except Exception as error:  # noqa: BLE001 - as below
        raise _unreadable(filename, error) from None


def _loaded(filename: str, data: bytes) -> Any:
    try:
        return np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # noqa: BLE001
        # NumPy promises nothing of damaged files: zipfile, zlib, lzma and tokenize each raise
        # their own, and a header may ask for more memory than there is.
        raise _unreadable(filename, error) from None


def _unpickled(filename: str, data: bytes, name: str | None, *, allow_pickle: bool) -> Any:
    if not allow_pickle:
        raise errors.InvalidArgument(
            f"Input file {filename} is neither .npy nor .npz. A pickle runs the code that it "
            f"holds; add --allow_pickle to read one that you trust"
        )
    _log.warning("Input file %s is read as a pickle, which can run any code.", filename)
    try:
        value = pickle.loads(data)  # noqa: S301 - asked for by name, and warned of
    except Exception as error:
        # Whatever the code in the pickle raised.
        raise _unreadable(filename, error) from error
    if name is None:
        return value
    if not isinstance(value, Mapping) or name not in value:
        raise _lacks(filename, name)
    return value[name]


def _lacks(filename: str, name: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(
        f'Input file {filename} does not contain variable with name "{name}".'
    )


def _unreadable(filename: str, error: Exception) -> errors.InvalidArgument:
    return errors.InvalidArgument(f"Input file {filename} cannot be read: {error}")
