# /// script
# requires-python = ">=3.11"
# dependencies = ["ngio"]
# ///
"""ngio (Fractal): images with labels and tables beside them, and plates."""

from pathlib import Path
from typing import Any

import numpy as np
from ngio import ImageInWellPath, create_empty_plate, create_ome_zarr_from_array, open_ome_zarr_container
from truth import Image, Writer, pattern

writer = Writer("ngio", "zarr")


def create(path: Path, data: np.ndarray, **more: Any) -> Any:
    return create_ome_zarr_from_array(str(path), data, **{"pixelsize": 0.325, "z_spacing": 1.5, **more})


def read(path: Path, group: str = "", label: str | None = None) -> Image:
    """The image, or one of its labels, as the library reads it."""
    container = open_ome_zarr_container(str(path / group))
    levels = container.level_paths

    def level(name: str) -> Any:
        return container.get_label(label, path=name) if label else container.get_image(path=name)

    first = level(levels[0])
    size = first.pixel_size
    return Image(
        "".join(first.axes),
        [level(name).get_as_numpy() for name in levels],
        "/".join(part for part in (group, f"labels/{label}" if label else "") if part),
        voxel={axis: length for axis, length in zip("zyx", size.zyx) if axis in first.axes},
        channels=None if label else container.channel_labels,
        label=label is not None,
    )


for ngff in ("0.4", "0.5"):

    @writer.store(f"czyx_{ngff}.zarr")
    def _(path: Path, ngff: str = ngff) -> list[Image]:
        create(path, pattern((2, 5, 64, 80)), axes_names=list("czyx"), ngff_version=ngff)
        container = open_ome_zarr_container(str(path))
        label = container.derive_label("nuclei")
        label.set_array(pattern((5, 64, 80), label.dtype) % 50)
        label.consolidate()
        return [read(path), read(path, label="nuclei")]

    @writer.store(f"yx_{ngff}.zarr")
    def _(path: Path, ngff: str = ngff) -> list[Image]:
        create(path, pattern((64, 80), "uint8"), ngff_version=ngff)
        return [read(path)]

    @writer.store(f"plate_{ngff}.zarr")
    def _(path: Path, ngff: str = ngff) -> list[Image]:
        places = [ImageInWellPath(row="A", column="01", path="0"), ImageInWellPath(row="B", column="02", path="0")]
        create_empty_plate(str(path), name="plate", images=places, ngff_version=ngff)
        for place, name in zip(places, ("A/01/0", "B/02/0")):
            create(path / name, pattern((2, 3, 40, 50)), axes_names=list("czyx"), ngff_version=ngff)
        return [read(path, "A/01/0"), read(path, "B/02/0")]


if __name__ == "__main__":
    writer.run()
