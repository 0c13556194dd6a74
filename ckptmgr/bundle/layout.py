"""Where every byte of a bundle goes, decided before a file is opened.

Within a shard, tensors stand in the order of their names, each at a multiple of the alignment,
so that the same tensors always give the same bytes and a memory map can be used as arrays as it is.
TensorFlow packs without gaps (alignment 1) and reads both: an entry carries its own offset.

A partitioned tensor is one entry under its name that lists the slices, and one entry per slice,
with the bytes, under a key that encodes name and slice.

Source: docs/formats/tensor-bundle.md; tensorflow/core/util/tensor_bundle/tensor_bundle.cc.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from ckptmgr import errors
from ckptmgr.bundle import slices
from ckptmgr.bundle.arrays import Array, stored_bytes
from ckptmgr.bundle.index import SLICE_KEY_MARK, tensor_of_key
from ckptmgr.formats import dtypes, string_tensor
from ckptmgr.formats.bundle_entry import BundleEntry
from ckptmgr.formats.dtypes import DataType
from ckptmgr.formats.tensor_slice import Extent, TensorSlice, encode_slice_key, resolve_slice

#: One cache line: what SIMD loads and zero-copy users (NumPy, JAX on CPU) want of an array.
DEFAULT_ALIGNMENT_BYTES = 64


@dataclass(frozen=True, slots=True)
class Partition:
    """Which part of a larger tensor an array is."""

    full_shape: tuple[int, ...]
    #: Where the part begins, one number per dimension.
    starts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NamedTensor:
    """A tensor to be written, or one part of a partitioned one."""

    name: str
    array: Array
    partition: Partition | None = None


#: The tensors of one shard: whole ones by name, which is the quickest, or a list of any.
ShardTensors = Mapping[str, Array] | Iterable[NamedTensor]


class Form(NamedTuple):
    """What many tensors have in common."""

    dtype: DataType
    shape: tuple[int, ...]
    #: Whether a contiguous source of this form is, in memory, what is stored.
    is_stored_as_held: bool


@dataclass(frozen=True, slots=True)
class ShardLayout:
    """The runs of bytes of one shard, in the order of the file, as columns.

    A state may have tens of thousands of tensors, and an object for each would take longer than
    its bytes.
    """

    #: The keys of the entries.
    keys: list[bytes]
    #: The arrays whose bytes these are, or encoded strings.
    sources: list[Array | bytes]
    forms: list[Form]
    #: Indexes of `forms`; int64, as `offsets` and `sizes_bytes`.
    form_of: Array
    offsets: Array
    sizes_bytes: Array
    #: Masked; only of strings, where it is not that of the bytes, by index.
    text_checksums: dict[int, int]
    size_bytes: int
    #: The whole file as it is to be, where it stands in memory already: page-aligned, and zeros
    #: behind `size_bytes` up to a page's end. Then nobody looks at `sources`.
    image: memoryview | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def form(self, index: int) -> Form:
        return self.forms[int(self.form_of[index])]

    def in_image(self, index: int, image: memoryview) -> Array:
        """The bytes of one tensor in an image of the file."""
        offset, size_bytes = int(self.offsets[index]), int(self.sizes_bytes[index])
        return np.frombuffer(image[offset : offset + size_bytes], np.uint8)

    def payload(self, index: int) -> memoryview:
        """The bytes to write: C order, little-endian, without a copy where the array is that."""
        source = self.sources[index]
        if isinstance(source, bytes):
            return memoryview(source)
        if self.form(index).is_stored_as_held and source.flags.c_contiguous and source.size:
            return source.data.cast("B")  # what `stored_bytes` gives, five times as fast
        return stored_bytes(source)


@dataclass(frozen=True, slots=True)
class BundleLayout:
    shards: tuple[ShardLayout, ...]
    #: Entries without bytes of their own: partitioned tensors under their full names.
    partitioned: tuple[tuple[bytes, BundleEntry], ...]

    @property
    def data_bytes(self) -> int:
        return sum(shard.size_bytes for shard in self.shards)


def plan_bundle(
    shards: Sequence[ShardTensors], *, alignment_bytes: int = DEFAULT_ALIGNMENT_BYTES
) -> BundleLayout:
    """Lay out the tensors of each shard.

    Raises:
        InvalidName, DuplicateName, UnsupportedDtype, InvalidArgument: Naming the tensor.
    """
    if not shards or alignment_bytes < 1:
        raise errors.InvalidArgument(
            f"a bundle has at least one shard and an alignment of at least 1 byte, "
            f"found {len(shards)} shards and {alignment_bytes} bytes"
        )
    partitioned: dict[str, list[NamedTensor]] = {}
    layouts = [_plan_shard(tensors, partitioned, alignment_bytes) for tensors in shards]
    described = {name: encode_name(name) for name in sorted(partitioned)}
    if len(shards) > 1 or not isinstance(shards[0], Mapping):
        _refuse_duplicates([*(shard.keys for shard in layouts), [*described.values()]])
    entries = []
    for name, key in described.items():
        dtype, shape, stored = describe_partition(name, partitioned[name])
        entries.append((key, BundleEntry(dtype, shape, slices=stored)))
    return BundleLayout(tuple(layouts), tuple(entries))


def without(
    plan: BundleLayout, elsewhere: AbstractSet[tuple[int, int]], alignment_bytes: int
) -> BundleLayout:
    """What is left to write of a plan when some tensors stand elsewhere; no shard of it is empty.

    Args:
        elsewhere: The shard of each such tensor, and its index in it.
    """
    shards = []
    for number, shard in enumerate(plan.shards):
        count = len(shard)
        left = [index for index in range(count) if (number, index) not in elsewhere]
        if left:
            shards.append(shard if len(left) == count else _packed(shard, left, alignment_bytes))
    return replace(plan, shards=tuple(shards))


def in_order(tensors: Iterable[NamedTensor]) -> list[NamedTensor]:
    """By name, the parts of one tensor by where they begin; how they came makes no difference."""
    ordered = sorted(tensors, key=_name)
    if any(tensor.partition is not None for tensor in ordered):
        ordered.sort(key=_order)
    return ordered


def encode_name(name: str) -> bytes:
    """The key of a tensor.

    Raises:
        InvalidName: It could not be told from the other keys of an index, or is not text.
    """
    if not name or name.startswith(SLICE_KEY_MARK):
        raise errors.InvalidName(
            f"a tensor name must not be empty nor begin with a NUL character, found {name!r}"
        )
    try:
        return name.encode("utf-8")
    except UnicodeEncodeError:
        raise errors.InvalidName(f"tensor name {name!r} cannot be encoded as UTF-8") from None


def encode_names(names: Sequence[str]) -> list[bytes]:
    """The keys of whole tensors whose names are sorted; raises as `encode_name` does."""
    try:
        if not names or names[0] >= "\1":  # neither empty nor beginning with NUL
            return list(map(str.encode, names))
    except UnicodeEncodeError:
        pass
    return list(map(encode_name, names))  # it raises at the one that is wrong


def is_whole(tensor: NamedTensor) -> bool:
    """Whether an array is all of its tensor: not partitioned, or the only part."""
    part = tensor.partition
    return part is None or (part.full_shape == tensor.array.shape and not any(part.starts))


def slice_of(tensor: NamedTensor) -> TensorSlice:
    """Which slice of its tensor an array is.

    Raises:
        InvalidArgument: It does not lie in its tensor.
    """
    shape = tensor.array.shape
    part = tensor.partition
    # No extent is empty: of an empty tensor only all of it is a slice.
    if part is None or (is_whole(tensor) and 0 in shape):
        return TensorSlice.full(len(shape))
    try:
        extents = [Extent(*bounds) for bounds in zip(part.starts, shape, strict=True)]
        found = TensorSlice(tuple(extents))
        resolve_slice(found, part.full_shape)
    except ValueError:
        raise errors.InvalidArgument(
            f"tensor {tensor.name!r}: a slice of shape {shape} at {part.starts} does not lie in a "
            f"tensor of shape {part.full_shape}"
        ) from None
    return found


def describe_partition(
    name: str, parts: Sequence[NamedTensor]
) -> tuple[DataType, tuple[int, ...], tuple[TensorSlice, ...]]:
    """What holds for all parts of one tensor: its dtype, its full shape, its slices.

    The parts need not be all there are: others may be in another checkpoint.

    Raises:
        InvalidArgument, UnsupportedDtype: They contradict each other, or could not be read back.
    """
    found_dtypes = dict.fromkeys(map(dtype_of, parts))
    found_shapes = dict.fromkeys(_full_shape(part) for part in parts)
    if len(found_dtypes) > 1 or len(found_shapes) > 1:
        found = [*map(dtypes.name, found_dtypes), *map(str, found_shapes)]
        raise errors.InvalidArgument(
            f"tensor {name!r}: its slices must agree on dtype and full shape, "
            f"found {', '.join(found)}"
        )
    (dtype,), (full_shape,) = found_dtypes, found_shapes
    if dtype not in dtypes.REASSEMBLABLE and not all(map(is_whole, parts)):
        raise errors.UnsupportedDtype(
            f"tensor {name!r}: TensorFlow cannot put slices of dtype {dtypes.name(dtype)} together "
            f"again; save it whole"
        )
    stored = tuple(map(slice_of, parts))
    try:
        slices.refuse_overlaps([resolve_slice(part, full_shape) for part in stored])
    except errors.MalformedSlices as error:
        raise errors.InvalidArgument(f"tensor {name!r}: {error}") from None
    return dtype, full_shape, stored


def dtype_of(tensor: NamedTensor) -> DataType:
    """The dtype that stores a tensor.

    Raises:
        UnsupportedDtype: Naming the tensor.
    """
    try:
        return dtypes.from_numpy(tensor.array.dtype)
    except errors.UnsupportedDtype as error:
        raise errors.UnsupportedDtype(f"tensor {tensor.name!r}: {error}") from None


def encode_text(tensor: NamedTensor) -> list[bytes]:
    """The elements of a string tensor in C order; text is stored as UTF-8.

    Raises:
        UnsupportedDtype, InvalidArgument: Naming the tensor.
    """
    items = tensor.array.reshape(-1).tolist()
    try:
        return [item if isinstance(item, bytes) else item.encode("utf-8") for item in items]
    except AttributeError:
        odd = next(item for item in items if not isinstance(item, bytes | str))
        raise errors.UnsupportedDtype(
            f"tensor {tensor.name!r}: an object array must hold bytes or str, found {odd!r:.60}"
        ) from None
    except UnicodeEncodeError:
        raise errors.InvalidArgument(
            f"tensor {tensor.name!r}: one of its strings is not valid Unicode"
        ) from None


_name = attrgetter("name")


def _order(tensor: NamedTensor) -> tuple[str, tuple[int, ...]]:
    return tensor.name, tensor.partition.starts if tensor.partition else ()


def _full_shape(tensor: NamedTensor) -> tuple[int, ...]:
    return tensor.partition.full_shape if tensor.partition else tensor.array.shape


def _plan_shard(
    tensors: ShardTensors, partitioned: dict[str, list[NamedTensor]], alignment_bytes: int
) -> ShardLayout:
    """Lay out one shard, and note the parts of partitioned tensors."""
    if isinstance(tensors, Mapping):
        names = sorted(tensors)
        keys, arrays = encode_names(names), [tensors[name] for name in names]
    else:
        ordered = in_order(tensors)
        names, arrays = [t.name for t in ordered], [t.array for t in ordered]
        keys = [_key_of(tensor, partitioned) for tensor in ordered]
    forms: dict[tuple[np.dtype[Any], tuple[int, ...]], int] = {}
    described: list[Form] = []
    held_bytes: list[int] = []
    numbers = []
    # This loop runs once per tensor, tens of thousands of times in a save.
    for index, array in enumerate(arrays):
        form = array.dtype, array.shape
        number = forms.get(form)
        if number is None:
            number = forms[form] = len(described)
            described.append(_describe(NamedTensor(names[index], array)))
            held_bytes.append(array.nbytes)
        numbers.append(number)
    form_of = np.array(numbers, np.int64)
    sources: list[Array | bytes] = [*arrays]
    sizes_bytes = np.array(held_bytes, np.int64)[form_of]
    text_checksums = {}
    of_texts = {n for n, form in enumerate(described) if form.dtype is DataType.DT_STRING}
    for index in [index for index, number in enumerate(numbers) if number in of_texts]:
        texts = encode_text(NamedTensor(names[index], arrays[index]))
        sources[index], text_checksums[index] = string_tensor.encode_strings(texts)
        sizes_bytes[index] = len(sources[index])
    offsets, size_bytes = _aligned_offsets(sizes_bytes, alignment_bytes)
    return ShardLayout(
        keys, sources, described, form_of, offsets, sizes_bytes, text_checksums, size_bytes
    )


def _describe(tensor: NamedTensor) -> Form:
    dtype = tensor.array.dtype
    is_little = dtype.isbuiltin == 1 and dtype.isnative and sys.byteorder == "little"
    stored_as = dtype_of(tensor)
    # The sources of strings are encoded already.
    return Form(stored_as, tensor.array.shape, is_little or stored_as is DataType.DT_STRING)


def _key_of(tensor: NamedTensor, partitioned: dict[str, list[NamedTensor]]) -> bytes:
    # A single slice that covers everything is a plain entry, as TensorFlow writes it.
    if tensor.partition is None or is_whole(tensor):
        return encode_name(tensor.name)
    partitioned.setdefault(tensor.name, []).append(tensor)
    return encode_slice_key(tensor.name, slice_of(tensor))


def _aligned_offsets(sizes_bytes: Array, alignment_bytes: int) -> tuple[Array, int]:
    """Where runs of these sizes begin, and where the last one ends."""
    padded = -(-sizes_bytes // alignment_bytes) * alignment_bytes
    offsets = np.cumsum(padded) - padded
    return offsets, int(offsets[-1] + sizes_bytes[-1]) if len(offsets) else 0


def _refuse_duplicates(keys: Iterable[list[bytes]]) -> None:
    seen: set[bytes] = set()
    for listed in keys:
        fresh = set(listed)
        if len(fresh) < len(listed) or not seen.isdisjoint(fresh):
            twice = next(key for key in listed if key in seen or listed.count(key) > 1)
            raise errors.DuplicateName(f"two tensors have the name {tensor_of_key(twice)!r}")
        seen |= fresh


def _packed(shard: ShardLayout, left: list[int], alignment_bytes: int) -> ShardLayout:
    """A shard with some of its tensors only, behind one another."""
    sources = [shard.sources[index] for index in left]
    if shard.image is not None:
        # The originals may have changed since.
        for place, index in enumerate(left):
            if not isinstance(sources[place], bytes):
                sources[place] = shard.in_image(index, shard.image)
    sizes_bytes = shard.sizes_bytes[left]
    offsets, size_bytes = _aligned_offsets(sizes_bytes, alignment_bytes)
    return replace(
        shard,
        keys=[shard.keys[index] for index in left],
        sources=sources,
        form_of=shard.form_of[left],
        offsets=offsets,
        sizes_bytes=sizes_bytes,
        text_checksums={
            place: shard.text_checksums[index]
            for place, index in enumerate(left)
            if index in shard.text_checksums
        },
        size_bytes=size_bytes,
        image=None,
    )
