# /// script
# requires-python = ">=3.11"
# dependencies = ["ngff-zarr", "tensorstore", "zarr"]
# ///
"""ngff-zarr, with its single-file form (`.ozx`, RFC-9) and NGFF 0.6."""

from pathlib import Path
from typing import Any

import ngff_zarr
import numpy as np
from truth import SECONDS, Image, Writer, micrometres, pattern

writer = Writer("ngff-zarr", "zarr", "tensorstore")


def image(axes: str, shape: tuple[int, ...], dtype: str = "uint16", unit: str = "micrometer", **more: Any) -> Any:
    lengths = {"t": 2.5, "c": 1.0, "z": 2.0, "y": 0.5, "x": 0.25}
    units = {"t": "second", "z": unit, "y": unit, "x": unit}
    return ngff_zarr.to_ngff_image(
        pattern(shape, dtype),
        dims=list(axes),
        scale={axis: lengths[axis] for axis in axes},
        axes_units={axis: each for axis, each in units.items() if axis in axes},
        **more,
    )


def read(path: Path, group: str = "", **options: Any) -> Image:
    """The image as the library reads it."""
    images = ngff_zarr.from_ngff_zarr(str(path / group) if group else str(path), **options).images
    first = images[0]
    axes = "".join(first.dims)
    units = [(first.axes_units or {}).get(axis) for axis in axes]
    time = (first.axes_units or {}).get("t")
    return Image(
        axes,
        [np.asarray(each.data) for each in images],
        group,
        voxel=micrometres(axes, [first.scale.get(axis, 1.0) for axis in axes], units),
        origin=micrometres(axes, [first.translation.get(axis, 0.0) for axis in axes], units),
        time_step=first.scale["t"] * SECONDS[time] if time else None,
    )


@writer.store("all by default.ome.zarr")
def _(path: Path) -> list[Image]:
    multiscales = ngff_zarr.to_multiscales(ngff_zarr.to_ngff_image(pattern((40, 130, 140))))
    ngff_zarr.to_ngff_zarr(str(path), multiscales)
    return [read(path)]


for version in ("0.4", "0.5", "0.6"):
    for axes, shape in (("yx", (70, 90)), ("zyx", (40, 66, 94)), ("tczyx", (2, 2, 8, 30, 36))):

        @writer.store(f"{axes}_{version}.ome.zarr")
        def _(path: Path, axes: str = axes, shape: tuple[int, ...] = shape, version: str = version) -> list[Image]:
            moved = {axis: length for axis, length in {"z": 4.0, "y": 5.0, "x": 6.0}.items() if axis in axes}
            multiscales = ngff_zarr.to_multiscales(image(axes, shape, translation=moved), scale_factors=[2, 4])
            ngff_zarr.to_ngff_zarr(str(path), multiscales, version=version)
            return [read(path)]

    @writer.store(f"nanometers_{version}.zarr")
    def _(path: Path, version: str = version) -> list[Image]:
        multiscales = ngff_zarr.to_multiscales(image("zyx", (9, 33, 35), "float32", "nanometer"), scale_factors=[2])
        ngff_zarr.to_ngff_zarr(str(path), multiscales, version=version)
        return [read(path)]


@writer.store("shards.ome.zarr")
def _(path: Path) -> list[Image]:
    multiscales = ngff_zarr.to_multiscales(image("zyx", (40, 66, 94)), scale_factors=[2, 4], chunks=(8, 16, 16))
    ngff_zarr.to_ngff_zarr(str(path), multiscales, version="0.5", chunks_per_shard=2)
    return [read(path)]


@writer.store("tensorstore.zarr")
def _(path: Path) -> list[Image]:
    multiscales = ngff_zarr.to_multiscales(image("czyx", (2, 9, 30, 36), unit="millimeter"), scale_factors=[2])
    ngff_zarr.to_ngff_zarr(str(path), multiscales, version="0.4", use_tensorstore=True)
    return [read(path)]


for version in ("0.5", "0.6"):

    @writer.store(f"one_file_{version}.ozx")
    def _(path: Path, version: str = version) -> list[Image]:
        multiscales = ngff_zarr.to_multiscales(image("czyx", (2, 12, 40, 52), "uint8"), scale_factors=[2])
        ngff_zarr.to_ngff_zarr(str(path), multiscales, version=version)
        return [read(path)]


@writer.store("one_file_of_shards.ozx")
def _(path: Path) -> list[Image]:
    multiscales = ngff_zarr.to_multiscales(image("zyx", (40, 66, 94)), scale_factors=[2], chunks=(8, 16, 16))
    ngff_zarr.to_ngff_zarr(str(path), multiscales, version="0.5", chunks_per_shard=2)
    return [read(path)]


if __name__ == "__main__":
    writer.run()
