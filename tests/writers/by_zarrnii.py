# /// script
# requires-python = ">=3.11"
# dependencies = ["zarrnii"]
# ///
"""zarrnii: volumes of light sheets, in millimetres."""

from pathlib import Path
from typing import Any

import dask.array
import ngff_zarr
import numpy as np
from truth import UM, Image, Writer, pattern
from zarrnii import ZarrNii

writer = Writer("zarrnii", "ome-zarr", "ngff-zarr", "zarr")


def write(path: Path, shape: tuple[int, ...], spacing: tuple[float, ...], options: Any = None, **more: Any) -> None:
    data = dask.array.from_array(pattern(shape), chunks=shape)
    image = ZarrNii.from_darr(data, axes_order="ZYX", orientation="RAS", spacing=spacing, **more)
    image.to_ome_zarr(str(path), max_layer=3, **(options or {}))


def read(path: Path) -> Image:
    """Level 0 as the library reads it, with the voxel size that it gives."""
    image = ZarrNii.from_ome_zarr(str(path))
    axes = "".join(image.dims).lower()
    units = image.ngff_image.axes_units or {}
    voxel = {axis: image.scale[axis] * UM[units.get(axis) or "micrometer"] for axis in axes if axis in "zyx"}
    return Image(axes, [np.asarray(image.data)], voxel=voxel)


@writer.store("all by default.ome.zarr")
def _(path: Path) -> list[Image]:
    write(path, (1, 16, 64, 72), (4.0, 1.0, 1.0))
    return [read(path)]


@writer.store("channels.ome.zarr")
def _(path: Path) -> list[Image]:
    micrometres = {axis: "micrometer" for axis in "zyx"}
    write(path, (2, 12, 64, 72), (4.0, 1.0, 1.0), channel_labels=["Abeta", "YoPro"], axes_units=micrometres)
    return [read(path)]


@writer.store("one_file.ozx")
def _(path: Path) -> list[Image]:
    write(path, (1, 16, 64, 64), (3.0, 1.0, 1.0))
    # Its own reader fails at its zip files; ngff-zarr is what it reads folders with.
    images = ngff_zarr.from_ngff_zarr(str(path)).images
    return [Image("".join(images[0].dims), [np.asarray(image.data) for image in images])]


@writer.store("v2.ome.zarr")
def _(path: Path) -> list[Image]:
    write(path, (1, 16, 64, 64), (2.0, 1.0, 1.0), {"zarr_format": 2})
    return [read(path)]


if __name__ == "__main__":
    writer.run()
