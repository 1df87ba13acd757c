"""What every reader must see of a corpus image.

That is what the manifest says, and what libhdf5 reads where the manifest says nothing."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from .image import Image, Level, voxels_of_level

Manifest = dict[str, Any]


def expected(facts: Manifest, read: Image) -> Image:
    """The image of the manifest with the levels that libhdf5 sees."""
    size = _size(facts, read)
    voxel = _voxel(facts, read)
    stored = {
        tuple(level["tczyx"]): level.get("ims_sha256", level["sha256"]) for level in facts["levels"]
    }
    levels = [
        Level(
            size if r == 0 else level.size,
            facts["ims_dtype"],
            voxels_of_level(voxel, size, level.size),
            stored.get((facts["T"], facts["C"], *level.size), level.hashes),
        )
        for r, level in enumerate(read.levels)
    ]
    return Image(facts["T"], facts["C"], _names(facts, read), levels)


def _size(facts: Manifest, read: Image) -> tuple[int, int, int]:
    """A WEBKNOSSOS dataset publishes its bounding box; the manifest has the size of its padded arrays."""
    size = (facts["Z"], facts["Y"], facts["X"])
    is_padded = facts.get("is_padded", False)
    return read.levels[0].size if is_padded else size


def _voxel(facts: Manifest, read: Image) -> tuple[float, float, float]:
    """Per axis what the store states, else what is published."""
    assert read.levels[0].voxel
    known = facts["voxel_um"] if facts["voxel_source"] != "none" else {}
    z, y, x = (known.get(axis) or own for axis, own in zip("zyx", read.levels[0].voxel))
    return z, y, x


def _names(facts: Manifest, read: Image) -> list[str]:
    assert read.names is not None
    names = list(read.names)
    for c, channel in enumerate(facts["channels"] or []):
        if channel and channel["name"] is not None and c < len(names):
            names[c] = channel["name"]
    return names


def broken_steps(image: Image) -> Iterator[str]:
    """Levels that are not the one above with some axes halved, rounded down, and others kept."""
    for r, (above, level) in enumerate(pairwise(image.levels), start=1):
        steps = zip(above.size, level.size)
        if level.size == above.size or any(
            new not in (old, max(old // 2, 1)) for old, new in steps
        ):
            yield f"level {r} {level.size} is not a half of {above.size}"
