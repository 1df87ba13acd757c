# /// script
# requires-python = ">=3.11"
# dependencies = ["iohub"]
# ///
"""iohub: single fields of view and plates."""

from pathlib import Path
from typing import Any

import numpy as np
from iohub.ngff import open_ome_zarr
from iohub.ngff.models import TransformationMeta
from truth import Image, Writer, pattern

writer = Writer("iohub", "zarr", "numpy")
CHANNELS = ["GFP - α", "Phase3D"]
SCALE = [2.0, 1.0, 0.5, 0.325, 0.325]
STEPS = [TransformationMeta(type="scale", scale=SCALE)]


def read(position: Any, group: str = "", **facts: Any) -> Image:
    """A field of view as the library reads it."""
    names = [dataset.path for dataset in position.metadata.multiscales[0].datasets]
    scale = position.scale
    return Image(
        "tczyx",
        [np.asarray(position[name][:]) for name in names],
        group,
        voxel=dict(zip("zyx", scale[-3:])),
        channels=position.channel_names,
        **facts,
    )


for version in ("0.4", "0.5"):

    @writer.store(f"by_default_{version}.zarr")
    def _(path: Path, version: str = version) -> list[Image]:
        with open_ome_zarr(path, layout="fov", mode="w", channel_names=CHANNELS, version=version) as position:
            position.create_image("0", pattern((2, 2, 5, 40, 50), "float32"))
        with open_ome_zarr(path) as position:
            return [read(position)]

    @writer.store(f"pyramid_{version}.zarr")
    def _(path: Path, version: str = version) -> list[Image]:
        with open_ome_zarr(path, layout="fov", mode="w", channel_names=CHANNELS, version=version) as position:
            position.create_image("0", pattern((2, 2, 8, 65, 90)), chunks=(1, 1, 4, 32, 32), transform=STEPS)
            position.initialize_pyramid(levels=3)
            for level in (1, 2):
                array = position[str(level)]
                array[:] = pattern(array.shape, seed=level)
        with open_ome_zarr(path) as position:
            return [read(position, time_step=2)]

    @writer.store(f"plate_{version}.zarr")
    def _(path: Path, version: str = version) -> list[Image]:
        names = [("A", "1", "0"), ("A", "1", "1"), ("H", "12", "0")]
        with open_ome_zarr(path, layout="hcs", mode="w", channel_names=CHANNELS, version=version) as plate:
            for seed, name in enumerate(names):
                position = plate.create_position(*name)
                position.create_image("0", pattern((1, 2, 3, 30, 40), seed=seed), transform=STEPS)
        with open_ome_zarr(path) as plate:
            return [read(position, name) for name, position in plate.positions()]


@writer.store("shards.zarr")
def _(path: Path) -> list[Image]:
    with open_ome_zarr(path, layout="fov", mode="w", channel_names=CHANNELS, version="0.5") as position:
        position.create_image(
            "0", pattern((1, 2, 8, 64, 64)), chunks=(1, 1, 4, 16, 16), shards_ratio=(1, 1, 2, 2, 2), transform=STEPS
        )
    with open_ome_zarr(path) as position:
        return [read(position)]


@writer.store("tiles.zarr")
def _(path: Path) -> list[Image]:
    with open_ome_zarr(path, layout="tiled", mode="w", channel_names=CHANNELS, version="0.4") as position:
        tiles = position.make_tiles("0", (2, 3), (1, 2, 4, 20, 30), dtype="uint16")
        tiles.write_tile(pattern((1, 2, 4, 20, 30)), 1, 2)
    with open_ome_zarr(path, layout="tiled") as position:
        return [read(position)]


if __name__ == "__main__":
    writer.run()
