# /// script
# requires-python = ">=3.11"
# dependencies = ["bioio-ome-zarr", "bioio"]
# ///
"""bioio-ome-zarr, read back with bioio."""

from pathlib import Path
from typing import Any

import numpy as np
from bioio_ome_zarr import Reader
from bioio_ome_zarr.writers import Channel, OMEZarrWriter
from truth import Image, Writer, pattern

writer = Writer("bioio-ome-zarr", "bioio-base", "zarr")


def read(path: Path, axes: str, **facts: Any) -> Image:
    """The image as the library reads it; it fills up absent axes, which are taken out again."""
    reader = Reader(str(path))
    levels = []
    for level in reader.resolution_levels:
        reader.set_resolution_level(level)
        data = reader.xarray_data
        levels.append(np.asarray(data.transpose(*axes.upper()) if set(data.dims) == set(axes.upper()) else data))
    reader.set_resolution_level(0)
    sizes = reader.physical_pixel_sizes
    voxel = {axis: size for axis, size in (("z", sizes.Z), ("y", sizes.Y), ("x", sizes.X)) if size and axis in axes}
    return Image(axes, levels, voxel=voxel, **facts)


@writer.store("all by default.zarr")
def _(path: Path) -> list[Image]:
    data = pattern((2, 2, 5, 60, 70))
    OMEZarrWriter(str(path), [data.shape], "uint16").write_full_volume(data)
    return [read(path, "tczyx")]


for zarr_format in (2, 3):

    @writer.store(f"tczyx_v{zarr_format}.ome.zarr")
    def _(path: Path, zarr_format: int = zarr_format) -> list[Image]:
        data = pattern((2, 2, 8, 64, 96))
        window = {"min": 0, "max": 65535, "start": 5, "end": 900}
        OMEZarrWriter(
            str(path),
            [data.shape, (2, 2, 8, 16, 24), (2, 2, 8, 4, 6)],
            "uint16",
            zarr_format=zarr_format,
            image_name="name",
            channels=[
                Channel(label="Ch488", color="00FF00", window=window),
                Channel(label="Ch561", color="FF9900", window=window),
            ],
            axes_units=["minute", None, "micrometer", "micrometer", "micrometer"],
            physical_pixel_size=[0.5, 1.0, 0.9, 0.108333, 0.108333],
        ).write_full_volume(data)
        names = Reader(str(path)).channel_names
        colours, windows = ["00FF00", "FF9900"], [(5, 900)] * 2
        return [read(path, "tczyx", time_step=30, channels=names, colours=colours, windows=windows)]


@writer.store("shards.ome.zarr")
def _(path: Path) -> list[Image]:
    data = pattern((1, 2, 16, 64, 96), "uint8")
    OMEZarrWriter(
        str(path), [data.shape], "uint8", zarr_format=3, chunk_shape=(1, 1, 4, 32, 32), shard_shape=(1, 1, 8, 64, 96)
    ).write_full_volume(data)
    return [read(path, "tczyx")]


@writer.store("tyx.ome.zarr")
def _(path: Path) -> list[Image]:
    data = pattern((4, 45, 53), "float32")
    OMEZarrWriter(
        str(path),
        [data.shape, (4, 22, 26)],
        "float32",
        axes_names=["t", "y", "x"],
        axes_types=["time", "space", "space"],
        axes_units=["millisecond", "micrometer", "micrometer"],
        physical_pixel_size=[250.0, 0.16, 0.16],
    ).write_full_volume(data)
    return [read(path, "tyx", time_step=0.25)]


@writer.store("zyx.ome.zarr")
def _(path: Path) -> list[Image]:
    data = pattern((6, 45, 53), "int16")
    OMEZarrWriter(
        str(path), [data.shape], "int16", axes_names=["z", "y", "x"], axes_types=["space"] * 3
    ).write_full_volume(data)
    return [read(path, "zyx")]


if __name__ == "__main__":
    writer.run()
