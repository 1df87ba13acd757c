"""What a reader sees of an image."""

import hashlib
from dataclasses import dataclass

import numpy as np

Size = tuple[int, int, int]
Voxel = tuple[float, float, float]


@dataclass(frozen=True)
class Level:
    """One resolution level; sizes and voxels are in the order z, y, x."""

    size: Size
    dtype: str
    voxel: Voxel | None
    """Micrometres. None: the reader does not tell."""
    hashes: list[list[str | None]]
    """SHA-256 of the volumes by time point and channel. None: the reader has not read it."""


@dataclass(frozen=True)
class Image:
    """An image with all its levels, finest first."""

    times: int
    channels: int
    names: list[str] | None
    """Of the channels. None: the reader does not tell."""
    levels: list[Level]


def digest(volume: np.ndarray) -> str:
    """SHA-256 of a volume, little-endian, x fastest."""
    little = np.ascontiguousarray(volume, dtype=volume.dtype.newbyteorder("<"))
    return hashlib.sha256(little.data).hexdigest()


def voxels_of_level(voxel: Voxel, finest: Size, size: Size) -> Voxel:
    """Voxel size of a level; all levels have the extent of the finest."""
    z, y, x = (v * f / s for v, f, s in zip(voxel, finest, size))
    return z, y, x
