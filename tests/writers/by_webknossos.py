# /// script
# requires-python = ">=3.11"
# dependencies = ["webknossos"]
# ///
"""webknossos: layers of datasets, whose bounding box is smaller than the arrays."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from truth import Image, Writer, pattern
from webknossos import BoundingBox, Dataset, NDBoundingBox

writer = Writer("webknossos", "tensorstore", "numpy")
VOXEL = {"x": 0.011, "y": 0.012, "z": 0.025}


def read(path: Path, name: str, axes: str = "cxyz", **facts: Any) -> Image:
    """A layer as the library reads it: what the bounding box of the layer holds."""
    layer = Dataset.open(path).get_layer(name)
    levels = [mag.read() for _, mag in sorted(layer.mags.items())]
    first = layer.bounding_box.topleft_xyz
    origin = {axis: first[n] * VOXEL[axis] for n, axis in enumerate("xyz")}
    return Image(axes, levels, name, voxel=VOXEL, origin=origin, **facts)


for data_format in ("zarr", "zarr3"):
    for corner in ((0, 0, 0), (5, 6, 7)):

        @writer.store(f"{data_format} from {corner[0]}")
        def _(path: Path, data_format: str = data_format, corner: tuple[int, int, int] = corner) -> list[Image]:
            dataset = Dataset(path, voxel_size=(11.0, 12.0, 25.0))
            box = BoundingBox(corner, (70, 50, 40))
            layer = dataset.add_layer("color", "color", dtype="uint16", data_format=data_format, bounding_box=box)
            data = pattern((1, 70, 50, 40))
            settings: dict[str, Any] = {"chunk_shape": 32}
            if data_format == "zarr3":
                settings["shard_shape"] = 64
            layer.add_mag("1", **settings).write(data, absolute_offset=corner, allow_unaligned=True)
            return [read(path, "color")]


# Arrays are padded to whole shards: the coarser ones are the larger ones. Their steps are those of x and y, then
# of all axes. The last level of the last box has no voxel that begins where the box does, and is left out.
for corner, size, shown in (((0, 0, 0), (128, 96, 64), 3), ((64, 32, 8), (100, 70, 41), 3), ((66, 34, 8), (64, 64, 32), 2)):

    @writer.store(f"mags from {corner[0]}")
    def _(
        path: Path,
        corner: tuple[int, int, int] = corner,
        size: tuple[int, int, int] = size,
        shown: int = shown,
    ) -> list[Image]:
        dataset = Dataset(path, voxel_size=(11.0, 12.0, 25.0))
        layer = dataset.add_layer(
            "color", "color", dtype="uint8", data_format="zarr3", bounding_box=BoundingBox(corner, size)
        )
        for mag, shard in (("1", 64), ("2-2-1", 256), ("4-4-2", 256)):
            view = layer.add_mag(mag, chunk_shape=32, shard_shape=shard)
            box = view.bounding_box
            steps = view.mag.to_vec3_int()
            data = pattern((1, *(length // step for length, step in zip(box.size_xyz, steps))), "uint8")
            view.write(data, absolute_bounding_box=box, allow_unaligned=True)
        image = read(path, "color")
        return [replace(image, levels=image.levels[:shown])]


@writer.store("red green blue")
def _(path: Path) -> list[Image]:
    dataset = Dataset(path, voxel_size=(11.0, 12.0, 25.0))
    box = BoundingBox((0, 0, 0), (64, 32, 32))
    layer = dataset.add_layer("color", "color", dtype="uint8", num_channels=3, data_format="zarr3", bounding_box=box)
    mag = layer.add_mag("1", chunk_shape=32, shard_shape=32)
    mag.write(pattern((3, 64, 32, 32), "uint8"), absolute_offset=(0, 0, 0))
    return [read(path, "color")]


@writer.store("times")
def _(path: Path) -> list[Image]:
    dataset = Dataset(path, voxel_size=(11.0, 12.0, 25.0))
    shape = (1, 3, 20, 30, 40)
    box = NDBoundingBox(topleft=(0,) * 5, size=shape, axes=tuple("ctzyx"), index=tuple(range(5)))
    layer = dataset.add_layer("color", "color", dtype="uint8", data_format="zarr3", bounding_box=box)
    mag = layer.add_mag("1", chunk_shape=32, shard_shape=32)
    mag.write(pattern(shape, "uint8"), absolute_bounding_box=box, allow_unaligned=True)
    return [read(path, "color", "ctzyx")]


@writer.store("segmentation")
def _(path: Path) -> list[Image]:
    dataset = Dataset(path, voxel_size=(11.0, 12.0, 25.0))
    box = BoundingBox((0, 0, 0), (40, 30, 20))
    layer = dataset.add_layer("segmentation", "segmentation", dtype="uint32", data_format="zarr3", bounding_box=box)
    mag = layer.add_mag("1", chunk_shape=32, shard_shape=32)
    mag.write(pattern((1, 40, 30, 20), "uint32"), absolute_offset=(0, 0, 0), allow_unaligned=True)
    return [read(path, "segmentation")]


if __name__ == "__main__":
    writer.run()
