"""The reference images of the format maker's writer, made anew from their formulas.

Run as a program, writes them as OME-Zarr stores below a folder."""

import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zarr

from .image import Image, Level, Size, Voxel, digest, voxels_of_level

NAMES = ("405 nm", "α-tubulin", "mCherry-H2B (561)", "DAPI")
COLOURS = ("0000FF", "00FF00", "FF0000", "FFFFFF")

TIME_STEP = 2.5
"""Seconds."""


@dataclass(frozen=True)
class Reference:
    """An image; all triples are in the order z, y, x."""

    name: str
    dtype: str
    times: int
    channels: int
    voxel: Voxel
    origin: Voxel
    levels: tuple[tuple[Size, int], ...]
    """Size and CRC-32 of each level in the maker's file. Only the first is stored."""
    ngff: str = "0.4"


REFERENCES = (
    Reference(
        "u8_c1_t1_3lev", "uint8", 1, 1, (2, 0.325, 0.325), (0, 0, 0),
        (((5, 905, 1101), 0x993138A9), ((5, 452, 550), 0x710045AB), ((5, 226, 275), 0xFC79C6EE)),
    ),
    Reference(
        "u16_c1_t1_3lev_3d", "uint16", 1, 1, (1.1, 1.1, 1.1), (0, 0, 0),
        (((103, 199, 215), 0x7AF314CE), ((51, 99, 107), 0x6EC020E9), ((25, 49, 53), 0x54EB6172)),
        ngff="0.5",
    ),
    Reference(
        "f32_c1_t1_3lev_3d", "float32", 1, 1, (1.2, 0.8, 0.8), (0, 0, 0),
        (((97, 151, 161), 0x23F74DAF), ((48, 75, 80), 0xA433A06D), ((24, 37, 40), 0x5395E271)),
    ),
    Reference(
        "u16_c2_t2_2lev", "uint16", 2, 2, (2, 0.5, 0.5), (30, 20, 10),
        (((53, 199, 215), 0x1FE4F4BB), ((26, 99, 107), 0x0118EDD2)),
    ),
    Reference(
        "u16_c3_t4_1lev", "uint16", 4, 3, (1.75, 0.25, 0.5), (3.5, -20, 100),
        (((21, 97, 133), 0xB4006411),),
        ngff="0.5",
    ),
    Reference(
        "u8_c2_t1_2d", "uint8", 1, 2, (1, 0.65, 0.65), (-0.5, -0.325, -0.325),
        (((1, 201, 301), 0xAD45C518),),
    ),
    Reference(
        "u32_c1_t1_1lev", "uint32", 1, 1, (4, 3, 2), (0, 0, 0),
        (((17, 33, 65), 0xB6220A71),),
        ngff="0.5",
    ),
    Reference(
        "u16_c1_t1_1lev_lowvalues", "uint16", 1, 1, (4, 3, 2), (0, 0, 0),
        (((3, 30, 40), 0x9EB8224E),),
    ),
)  # fmt: skip


def finest(reference: Reference) -> np.ndarray:
    """Level 0 (t, c, z, y, x) by the formula of its type."""
    (zs, ys, xs), _ = reference.levels[0]
    t, c, z, y, x = np.ogrid[: reference.times, : reference.channels, :zs, :ys, :xs]
    match reference.dtype:
        case "uint8":
            values = (x // 4 + 2 * (y // 4) + 16 * z + 40 * c + 90 * t) % 251
        case "uint16":
            values = (3 * (x // 2) + 5 * (y // 2) + 7 * z + 1000 * c + 4000 * t) % 4093
        case "uint32":
            values = 70000 * (x // 2) + 11 * (y // 2) + 1300 * z + 5000000 * c + 9000000 * t
        case _:
            values = 0.25 * (x // 2) - 0.5 * (y // 2) + 1.5 * z + 10 * c + 20 * t
    return values.astype(reference.dtype)


def coarser(level: np.ndarray, size: Size) -> np.ndarray:
    """The next level: halved axes in pairs, an odd last plane dropped; means cut to the type."""
    means = level.astype(np.float32)
    for axis, (old, new) in enumerate(zip(level.shape[2:], size), start=2):
        if new == old:
            continue
        pairs = means.take(range(2 * new), axis).reshape(
            *means.shape[:axis], new, 2, *means.shape[axis + 1 :]
        )
        means = pairs.sum(axis + 1, dtype=np.float32)
    divisor = np.prod([old // new for old, new in zip(level.shape[2:], size)])
    return (means / np.float32(divisor)).astype(level.dtype)


def levels(reference: Reference) -> list[np.ndarray]:
    """All levels, each with the checksum that the maker's file has."""
    found: list[np.ndarray] = []
    for size, crc in reference.levels:
        found.append(coarser(found[-1], size) if found else finest(reference))
        if zlib.crc32(np.ascontiguousarray(found[-1]).data) != crc:
            raise ValueError(
                f"{reference.name}: level {len(found) - 1} is not that of the maker's file"
            )
    return found


def expected(reference: Reference) -> Image:
    """What every reader must see."""
    dtype = (
        "float32" if reference.dtype == "uint32" else reference.dtype
    )  # Imaris has no uint32 inside
    first = reference.levels[0][0]
    found = [
        Level(
            size,
            dtype,
            voxels_of_level(reference.voxel, first, size),
            [[digest(volume.astype(dtype)) for volume in channels] for channels in data],
        )
        for (size, _), data in zip(reference.levels, levels(reference))
    ]
    return Image(reference.times, reference.channels, list(NAMES[: reference.channels]), found)


def create(reference: Reference, store: Path, channels: range, levels: int = 1) -> zarr.Group:
    """An OME-Zarr store of some channels of an image, without its arrays, which are named by their numbers."""
    kinds = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
    units = {"time": "second", "space": "micrometer"}
    axes = [
        {"name": a, "type": k} | ({"unit": units[k]} if k in units else {})
        for a, k in kinds.items()
    ]
    translation = {"type": "translation", "translation": [0.0, 0.0, *reference.origin]}
    datasets = [
        {
            "path": str(r),
            "coordinateTransformations": [
                {"type": "scale", "scale": [TIME_STEP, 1.0, *(v * 2**r for v in reference.voxel)]},
                translation,
            ],
        }
        for r in range(levels)
    ]
    multiscale = {"name": reference.name, "axes": axes, "datasets": datasets}
    omero = {
        "channels": [
            {
                "label": NAMES[c],
                "color": COLOURS[c],
                "active": True,
                "window": {"min": 0, "max": 4095, "start": 0, "end": 4095},
            }
            for c in channels
        ]
    }
    if reference.ngff == "0.4":
        attributes = {"multiscales": [{"version": "0.4", **multiscale}], "omero": omero}
    else:
        ome = {"version": reference.ngff, "multiscales": [multiscale], "omero": omero}
        attributes = {"ome": ome}
    return zarr.create_group(
        store, zarr_format=2 if reference.ngff == "0.4" else 3, attributes=attributes
    )


def create_level(
    group: zarr.Group, name: str, shape: tuple[int, ...], dtype: str, shards: tuple[int, ...] | None = None
) -> zarr.Array:
    """A level of such a store."""
    return group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        chunks=(1, 1, *(min(n, 64) for n in shape[2:])),
        shards=shards,
        chunk_key_encoding=(
            {"name": "v2", "separator": "/"} if group.metadata.zarr_format == 2 else None
        ),
    )


def write(reference: Reference, store: Path, channels: range) -> None:
    """Writes some channels of level 0 as an OME-Zarr store."""
    data = finest(reference)[:, channels.start : channels.stop]
    group = create(reference, store, channels)
    create_level(group, "0", data.shape, reference.dtype)[...] = data


if __name__ == "__main__":
    for each in REFERENCES:
        write(each, Path(sys.argv[1], f"{each.name}.ome.zarr"), range(each.channels))
