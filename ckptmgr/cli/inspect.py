"""`ckptmgr inspect --file_name=PREFIX`: names, shapes and values, with inspect_checkpoint's flags.

What is printed is what TensorFlow's tool prints, to the byte. Different are: a partitioned tensor
is listed once, with the slices that are stored of it, where TensorFlow prints their encoded keys; a
V1 checkpoint is sorted by name, where TensorFlow has the order of a hash table, and all its dtypes
are printed, partitioned tensors too; and what goes wrong is an error.

Source: tensorflow/python/tools/inspect_checkpoint.py.
"""

from __future__ import annotations

import argparse
import base64
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TextIO

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle.checkpoint_reader import UNREADABLE_DTYPE, CheckpointReader
from ckptmgr.cli import wording
from ckptmgr.cli.command import Command, add_flag
from ckptmgr.cli.wording import printable
from ckptmgr.formats.bundle_entry import BundleEntry
from ckptmgr.formats.dtypes import DataType

_USAGE = (
    "Usage: inspect_checkpoint --file_name=checkpoint_file_name [--tensor_name=tensor_to_print] "
    "[--all_tensors] [--all_tensor_names] [--count_exclude_pattern] [--printoptions]\n"
)
_FAILED = 1
_UNREADABLE = "<not convertible to a numpy dtype>"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be printed; by default, what the checkpoint lists."""

    tensor_name: str = ""
    all_tensors: bool = False
    all_tensor_names: bool = False
    #: Tensors that do not count as parameters; empty for none.
    count_exclude_pattern: str = ""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--file_name",
        default="",
        metavar="PREFIX",
        help="the prefix of a checkpoint, such as run/model.ckpt-100",
    )
    parser.add_argument("--tensor_name", default="", metavar="NAME", help="print this tensor")
    parser.add_argument(
        "--count_exclude_pattern",
        default="",
        metavar="REGEX",
        help="do not count the parameters of tensors with such names",
    )
    add_flag(parser, "--all_tensors", "print the names and values of all tensors")
    add_flag(parser, "--all_tensor_names", "print the names of all tensors")
    parser.add_argument(
        "--printoptions",
        nargs="*",
        default=[],
        type=_print_option,
        metavar="NAME=VALUE",
        help="how NumPy prints values, such as precision=2 or threshold=100000",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def _run(arguments: argparse.Namespace, out: TextIO) -> int:
    if not arguments.file_name:
        out.write(_USAGE)
        return _FAILED
    wish = Wish(
        arguments.tensor_name,
        arguments.all_tensors,
        arguments.all_tensor_names,
        arguments.count_exclude_pattern,
    )
    with CheckpointReader(arguments.file_name) as reader:
        if arguments.json:
            out.write(wording.json_text(as_json(reader, wish)))
        else:
            options: dict[str, Any] = dict(arguments.printoptions)
            with np.printoptions(**options):
                # One by one: a checkpoint may be larger than memory.
                out.writelines(f"{line}\n" for line in render(reader, wish))
    return 0


COMMAND = Command("inspect", "print the tensors of a checkpoint", _add_arguments, _run)


def _print_option(text: str) -> tuple[str, Any]:
    """One `name=value` for `numpy.set_printoptions`, of the type that the default has."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"'{text}' is not in the form k=v.")
    defaults: dict[str, Any] = dict(np.get_printoptions())
    if name not in defaults:
        raise argparse.ArgumentTypeError(f"'{name}' is not a valid printoption.")
    default = defaults[name]
    if default is None:
        raise argparse.ArgumentTypeError(
            f"Setting '{name}' from the command line is not supported."
        )
    try:
        option = _truth(value) if isinstance(default, bool) else type(default)(value)
        chosen: dict[str, Any] = {name: option}
        with np.printoptions(**chosen):
            return name, option
    except (TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"'{text}': {error}") from None


def _truth(text: str) -> bool:
    if text.casefold() in ("true", "t", "1"):
        return True
    if text.casefold() in ("false", "f", "0"):
        return False
    raise ValueError("neither true nor false")


# --------------------------------------------------------------------------- what there is


def _names(reader: CheckpointReader, wish: Wish) -> list[str]:
    names = sorted(reader.get_variable_to_shape_map())
    if not wish.tensor_name or wish.all_tensors or wish.all_tensor_names:
        return names
    if not reader.has_tensor(wish.tensor_name):
        near = errors.near_misses(wish.tensor_name, names)
        raise errors.TensorNotFound(f"Tensor {wish.tensor_name} not found in checkpoint.{near}")
    return [wish.tensor_name]


def _wants_values(wish: Wish) -> bool:
    return wish.all_tensors or bool(wish.tensor_name and not wish.all_tensor_names)


def _is_readable(reader: CheckpointReader, name: str) -> bool:
    return reader.get_variable_to_dtype_map()[name] is not UNREADABLE_DTYPE


@dataclass(frozen=True, slots=True)
class Parameters:
    total: int
    num_excluded_tensors: int
    excluded: int


def count_parameters(reader: CheckpointReader, exclude_pattern: str) -> Parameters:
    """How many numbers there are; a tensor of rank 0 counts as one, of whatever dtype.

    Raises:
        InvalidArgument: The pattern is no regular expression.
    """
    sizes = {name: math.prod(dims) for name, dims in reader.get_variable_to_shape_map().items()}
    if not exclude_pattern:
        return Parameters(sum(sizes.values()), 0, 0)
    try:
        pattern = re.compile(exclude_pattern)
    except re.error as error:
        raise errors.InvalidArgument(
            f"--count_exclude_pattern={exclude_pattern} is no regular expression: {error}"
        ) from None
    excluded = [size for name, size in sizes.items() if pattern.search(name)]
    return Parameters(sum(sizes.values()) - sum(excluded), len(excluded), sum(excluded))


# --------------------------------------------------------------------------- for people


def render(reader: CheckpointReader, wish: Wish) -> Iterator[str]:
    """The lines that TensorFlow's tool prints; values span several.

    Raises:
        TensorNotFound: There is no tensor of the name that is wished for.
        InvalidArgument: The pattern is no regular expression.
        CorruptCheckpoint: A value is damaged; those before it have been printed.
    """
    names = _names(reader, wish)
    counted = count_parameters(reader, wish.count_exclude_pattern)
    if wish.all_tensors or wish.all_tensor_names or wish.tensor_name:
        for name in names:
            shape = list(reader.entry(name).shape)
            yield f"tensor: {printable(name)} ({reader.dtype_name(name)}) {shape}"
            if _wants_values(wish):
                readable = _is_readable(reader, name)
                yield str(reader.get_tensor(name)) if readable else _UNREADABLE
    else:
        yield from (_listed(reader, name) for name in names)
        yield ""
    if wish.count_exclude_pattern:
        yield (
            f"# Excluding {counted.num_excluded_tensors} tensors ({counted.excluded} params) that "
            f"match {wish.count_exclude_pattern} when counting."
        )
    yield f"# Total number of params: {counted.total}"


def _listed(reader: CheckpointReader, name: str) -> str:
    """`w (DT_FLOAT) [3,4]`, as a checkpoint's debug string has it."""
    entry = reader.entry(name)
    dtype = entry.dtype.name if isinstance(entry.dtype, DataType) else reader.dtype_name(name)
    text = f"{printable(name)} ({dtype}) [{','.join(map(str, entry.shape))}]"
    slices = _slices(reader, name)
    if not slices:
        return text
    text += f", {len(slices)} slices"
    return f"{text}: {' '.join(slices)}" if isinstance(entry, BundleEntry) else text


def _slices(reader: CheckpointReader, name: str) -> list[str]:
    """The stored parts of a tensor, as in slice specs; none if it is stored whole."""
    entry = reader.entry(name)
    is_whole = not isinstance(entry, BundleEntry) and len(entry.slices) == 1
    return [] if is_whole else list(map(str, entry.slices))


# --------------------------------------------------------------------------- for programs


def as_json(reader: CheckpointReader, wish: Wish) -> dict[str, Any]:
    counted = count_parameters(reader, wish.count_exclude_pattern)
    return {
        "file_name": reader.prefix,
        "tensors": [_tensor_as_json(reader, name, wish) for name in _names(reader, wish)],
        "params": counted.total,
        "excluded_tensors": counted.num_excluded_tensors,
        "excluded_params": counted.excluded,
    }


def _tensor_as_json(reader: CheckpointReader, name: str, wish: Wish) -> dict[str, Any]:
    tensor: dict[str, Any] = {
        "name": name,
        "dtype": reader.dtype_name(name),
        "shape": list(reader.entry(name).shape),
        "slices": _slices(reader, name),
    }
    if _wants_values(wish):
        readable = _is_readable(reader, name)
        tensor["value"] = json_value(reader.get_tensor(name)) if readable else None
    return tensor


def json_value(value: Any) -> Any:
    """Nested lists of a tensor's elements.

    A complex number is a list of two; infinities and NaN are the texts "inf", "-inf", "nan"; a
    string is text, or an object with its bytes in `base64`, if it is not UTF-8.
    """
    if isinstance(value, np.ndarray) and value.ndim:
        return [json_value(row) for row in value]
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(value).decode("ascii")}
    array: np.ndarray[Any, Any] = np.asarray(value)
    if array.dtype.kind in "biu":
        return array.item()
    if array.dtype.kind == "c":
        return [_json_number(float(array.real)), _json_number(float(array.imag))]
    # What NumPy does not know, the dtypes of ml_dtypes, is a number all the same.
    number = float(array)
    return int(number) if "int" in array.dtype.name else _json_number(number)


def _json_number(number: float) -> float | str:
    return number if math.isfinite(number) else str(number)
