"""Compares what a reader sees with what it must see."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

from .image import Image, Voxel
from .readers import H5dump

TOLERANCE = 1e-5
"""Relative, of voxel sizes: extents are text of limited length."""


@dataclass(frozen=True)
class Limitation:
    """Something that a reader cannot do with any file of this format."""

    reader: str
    what: str
    applies: Callable[[Image, int], bool]
    """To an image and a level of it."""
    reason: str


# The only checks that are left out. Evidence is in the readers' sources.
LIMITATIONS = (
    *(
        Limitation(
            reader,
            "names",
            lambda image, _: not "".join(image.names or []).isascii(),
            "it decodes attributes as ASCII (ims.py, read_attribute) and fails at other letters",
        )
        for reader in ("imaris_ims_file_reader", "imaris_ims_zarr")
    ),
    Limitation(
        "imaris_ims_zarr",
        "voxel",
        lambda _, level: level > 0,
        "it multiplies by the whole part of the ratio of sizes (ims.py, __init__)",
    ),
    Limitation(
        "Bio-Formats",
        "voxel",
        lambda image, level: level > 0 and image.levels[level].size[0] == image.levels[0].size[0],
        "levels with the Z of level 0 belong to its series, and only series have physical sizes",
    ),
    Limitation(
        "h5dump",
        "pixels",
        lambda image, _: image.times * image.channels * len(image.levels) > H5dump.FEW,
        "it walks through the whole file for each dataset that it prints (a second for 1000 time points)",
    ),
)


def differences(
    reader: str, seen: Image, wanted: Image, unchecked: Counter[Limitation]
) -> Iterator[str]:
    """A message for each difference; what is not checked is counted."""

    def cannot(what: str, level: int = 0) -> bool:
        for limitation in LIMITATIONS:
            if (limitation.reader, limitation.what) == (reader, what) and limitation.applies(
                wanted, level
            ):
                unchecked[limitation] += 1
                return True
        return False

    if (seen.times, seen.channels) != (wanted.times, wanted.channels):
        yield f"T, C {seen.times}, {seen.channels}, expected {wanted.times}, {wanted.channels}"
        return
    if seen.names != wanted.names and not (seen.names is None and cannot("names")):
        yield f"channel names {seen.names}, expected {wanted.names}"
    if len(seen.levels) != len(wanted.levels):
        yield f"{len(seen.levels)} levels, expected {len(wanted.levels)}"
    for r, (got, want) in enumerate(zip(seen.levels, wanted.levels)):
        if got.size != want.size:
            yield f"level {r}: size {got.size}, expected {want.size}"
        if got.dtype != want.dtype:
            yield f"level {r}: type {got.dtype}, expected {want.dtype}"
        if not _close(got.voxel, want.voxel) and not (got.voxel is None and cannot("voxel", r)):
            yield f"level {r}: voxel size {got.voxel}, expected {want.voxel}"
        volumes = product(range(wanted.times), range(wanted.channels))
        differing = [
            (t, c)
            for t, c in volumes
            if got.hashes[t][c] != want.hashes[t][c]
            and not (got.hashes[t][c] is None and cannot("pixels"))
        ]
        if differing:
            yield f"level {r}: pixels differ at t, c {differing}"


def _close(got: Voxel | None, want: Voxel | None) -> bool:
    if got is None or want is None:
        return got == want
    return all(abs(g - w) <= TOLERANCE * w for g, w in zip(got, want))
