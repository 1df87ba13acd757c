# /// script
# requires-python = ">=3.11"
# dependencies = ["ome-writers[all]", "tensorstore", "zarr"]
# ///
"""ome-writers: acquisitions with stage positions. It has no reader; zarr-python reads them back."""

from pathlib import Path
from typing import Any

import numpy as np
import ome_writers
import zarr
from truth import Image, Writer, pattern

writer = Writer("ome-writers", "tensorstore", "zarr")


def dimensions(*first: Any) -> list[Any]:
    channels = [ome_writers.Channel(name="DAPI", color="0000FF"), ome_writers.Channel(name="FITC", color="00FF00")]
    return [
        *first,
        ome_writers.Dimension(name="t", count=2, chunk_size=1, unit="second", scale=2.5),
        ome_writers.Dimension(name="c", coords=channels, chunk_size=1),
        ome_writers.Dimension(name="z", count=3, chunk_size=1, unit="micrometer", scale=2.0),
        ome_writers.Dimension(name="y", count=37, chunk_size=16, unit="micrometer", scale=0.5),
        ome_writers.Dimension(name="x", count=41, chunk_size=16, unit="micrometer", scale=0.5),
    ]


def write(path: Path, data: np.ndarray, *first: Any) -> None:
    settings = ome_writers.AcquisitionSettings(
        root_path=str(path),
        overwrite=True,
        dtype=str(data.dtype),
        format={"name": "ome-zarr", "backend": "tensorstore"},
        dimensions=dimensions(*first),
    )
    with ome_writers.create_stream(settings) as stream:
        for index in np.ndindex(*data.shape[:-2]):
            stream.append(data[index])


def read(path: Path, group: str = "") -> Image:
    levels = [zarr.open_group(path / group, mode="r")["0"][:]]
    voxel = {"z": 2.0, "y": 0.5, "x": 0.5}
    return Image("tczyx", levels, group, voxel=voxel, time_step=2.5, channels=["DAPI", "FITC"], colours=["0000FF", "00FF00"])


@writer.store("one.ome.zarr")
def _(path: Path) -> list[Image]:
    write(path, pattern((2, 2, 3, 37, 41)))
    return [read(path)]


@writer.store("positions.ome.zarr")
def _(path: Path) -> list[Image]:
    positions = [
        ome_writers.Position(name="tile A", x_coord=100.0, y_coord=5.0),
        ome_writers.Position(name="tile B", x_coord=200.0, y_coord=5.0),
    ]
    write(path, pattern((2, 2, 2, 3, 37, 41)), ome_writers.Dimension(name="p", type="position", coords=positions))
    groups = [str(each.parent.parent.relative_to(path)) for each in sorted(path.glob("*/0/zarr.json"))]
    return [read(path, group) for group in groups]


if __name__ == "__main__":
    writer.run()
