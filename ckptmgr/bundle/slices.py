"""Which stored slices make up a region of a partitioned tensor. Pure geometry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ckptmgr import errors
from ckptmgr.formats.tensor_slice import Region, TensorSlice, intersect, resolve_stored_slice

# Comparing slices in pairs takes about a microsecond each. Real partitions, along one dimension or
# in a grid, stay far below; only an index made to waste time does not.
_MAX_COMPARISONS = 1_000_000


@dataclass(frozen=True, slots=True)
class Part:
    """A stored slice and what of it lies in the region asked for."""

    stored: TensorSlice
    stored_region: Region
    shared: Region


def whole(shape: tuple[int, ...]) -> Region:
    return Region((0,) * len(shape), shape)


def cover(shape: tuple[int, ...], stored: Sequence[TensorSlice], region: Region) -> list[Part]:
    """The parts that make up `region`, each element in exactly one of them.

    Raises:
        MalformedSlices: Stored slices leave the tensor, or overlap or leave a hole in the region.
    """
    parts = []
    for tensor_slice in stored:
        stored_region = resolve_stored_slice(tensor_slice, shape)
        shared = intersect(stored_region, region)
        if shared is not None:
            parts.append(Part(tensor_slice, stored_region, shared))
    refuse_overlaps([part.shared for part in parts])
    covered = sum(math.prod(part.shared.lengths) for part in parts)
    wanted = math.prod(region.lengths)
    if covered != wanted:
        raise errors.MalformedSlices(
            "the stored slices do not cover the tensor",
            expected=f"{wanted} elements",
            found=f"{covered} elements in {len(parts)} slices",
        )
    return parts


def refuse_overlaps(regions: Sequence[Region]) -> None:
    """Raise if two regions of one tensor have an element in common.

    Sweeps along the dimension with the most distinct starts: only regions that are open at once
    can overlap.

    Raises:
        MalformedSlices: They have, or there are too many to tell.
    """
    if len(regions) < 2:
        return
    starts_by_dimension = zip(*(region.starts for region in regions), strict=True)
    distinct = [len(set(starts)) for starts in starts_by_dimension]
    along = distinct.index(max(distinct)) if distinct else None
    if along is None:
        raise _overlap(regions[0], regions[1])  # a scalar has one element
    open_regions: list[Region] = []
    comparisons = 0
    for region in sorted(regions, key=lambda region: region.starts[along]):
        start = region.starts[along]
        open_regions = [r for r in open_regions if r.starts[along] + r.lengths[along] > start]
        comparisons += len(open_regions)
        if comparisons > _MAX_COMPARISONS:
            raise errors.MalformedSlices(
                "the stored slices are too many to be held against each other",
                expected=f"at most {_MAX_COMPARISONS} comparisons",
                found=f"{len(regions)} slices",
            )
        for other in open_regions:
            if intersect(other, region) is not None:
                raise _overlap(other, region)
        open_regions.append(region)


def _overlap(one: Region, other: Region) -> errors.MalformedSlices:
    return errors.MalformedSlices(
        "two stored slices overlap",
        expected="each element in one slice",
        found=f"{_text(one)} and {_text(other)}",
    )


def _text(region: Region) -> str:
    """As in a slice spec: `start,length` for each dimension."""
    return ":".join(map("{},{}".format, region.starts, region.lengths))
