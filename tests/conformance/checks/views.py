"""Files made by hand of what is there: each is a reference image once more.

Run as a program, writes their stores below a folder, and prints the tables of the configuration file."""

import json
import sys
from dataclasses import replace
from pathlib import Path

from . import stores
from .image import Size
from .stores import Reference

FOLDER = "views"
"""Of the stores and the views, below the source."""

_BY_NAME = {reference.name: reference for reference in stores.REFERENCES}
CROPPED = _BY_NAME["u16_c1_t1_3lev_3d"]
JOINED = _BY_NAME["u16_c3_t4_1lev"]
FILES = {f"{FOLDER}/crop.ims": CROPPED, f"{FOLDER}/joined.ims": JOINED}
"""The views, and what every reader must see in them."""

WHOLE: Size = (8192, 8192, 8192)
"""Voxels of two bytes: 1 TiB is declared."""

CORNER: Size = (5000, 4004, 1238)
"""Of the reference image in the whole one. Level 2 has no whole voxel there along x, and is computed."""

MARGIN = 8
"""Voxels around it that are written, too, with another value: a part that is shifted shows them."""


def write_whole(reference: Reference, folder: Path) -> None:
    """Writes the image of 1 TiB with two stored levels, and the view beside it."""
    store = folder / "whole.ome.zarr"
    # The place of its first voxel, so that the part lies where the reference image does.
    origin = tuple(o - c * v for o, c, v in zip(reference.origin, CORNER, reference.voxel))
    whole = replace(reference, origin=origin)
    group = stores.create(whole, store, range(1), levels=2)
    for r, data in enumerate(stores.levels(reference)[:2]):
        size, corner = (tuple(n >> r for n in triple) for triple in (WHOLE, CORNER))
        array = stores.create_level(group, str(r), (1, 1, *size), reference.dtype)
        around = [
            slice(c - MARGIN, c + n + MARGIN) for c, n in zip(corner, data.shape[2:])
        ]
        array[0, 0, *around] = 60000 + r
        array[0, 0, *(slice(c, c + n) for c, n in zip(corner, data.shape[2:]))] = data[0, 0]
    ranges = {
        axis: [c, c + n] for axis, c, n in zip("zyx", CORNER, reference.levels[0][0])
    }
    text = "\n".join(f"{axis} = {json.dumps(ends)}" for axis, ends in ranges.items())
    (folder / f"{store.name}.zarrims.toml").write_text(f'[[view]]\nname = "crop"\n{text}\n')


def write_channels(reference: Reference, folder: Path) -> str:
    """Writes each channel as a store of its own; the table of the view."""
    names = [f"channel{c}.ome.zarr" for c in range(reference.channels)]
    for c, name in enumerate(names):
        stores.write(reference, folder / name, range(c, c + 1))
    of = json.dumps([f"{FOLDER}/{name}" for name in names])
    return f'[[view]]\nname = "{FOLDER}/joined"\nof = {of}\nas = "channels"\n'


if __name__ == "__main__":
    below = Path(sys.argv[1], FOLDER)
    below.mkdir()
    write_whole(CROPPED, below)
    print(write_channels(JOINED, below))
