# /// script
# requires-python = ">=3.11"
# dependencies = ["spatialdata"]
# ///
"""spatialdata: images and labels with named coordinate systems."""

from pathlib import Path
from typing import Any

import numpy as np
import spatialdata
from spatialdata.models import Image2DModel, Image3DModel, Labels2DModel
from spatialdata.transformations import Affine, Identity, Scale, Sequence, Translation
from truth import Image, Writer, pattern

writer = Writer("spatialdata", "ome-zarr", "zarr")


def read(path: Path) -> list[Image]:
    """All elements as the library reads them."""
    data = spatialdata.read_zarr(path)
    images = []
    for kind, elements in (("images", data.images), ("labels", data.labels)):
        for name, element in elements.items():
            if hasattr(element, "dims") and hasattr(element, "coords") and not hasattr(element, "children"):
                arrays = [element]
            else:
                arrays = [next(iter(element[scale].values())) for scale in element]
            channels = None
            if kind == "images":
                channels = [str(each) for each in arrays[0].coords["c"].values]
            levels = [np.asarray(array.data) for array in arrays]
            axes = "".join(arrays[0].dims)
            images.append(Image(axes, levels, f"{kind}/{name}", channels=channels))
    return images


def write(path: Path, **elements: Any) -> list[Image]:
    spatialdata.SpatialData(**elements).write(path)
    return read(path)


@writer.store("all by default.zarr")
def _(path: Path) -> list[Image]:
    return write(
        path,
        images={
            "plane": Image2DModel.parse(pattern((3, 64, 80)), dims=("c", "y", "x")),
            "volume": Image3DModel.parse(pattern((2, 5, 40, 50), "float64"), dims=("c", "z", "y", "x")),
        },
        labels={"cells": Labels2DModel.parse(pattern((64, 80), "int32") // 300_000, dims=("y", "x"))},
    )


TRANSFORMATIONS: dict[str, dict[str, Any]] = {
    "scale": {"global": Scale([0.5, 0.25], axes=("x", "y"))},
    "two": {"global": Identity(), "um": Scale([0.5, 0.25], axes=("x", "y"))},
    "sequence": {"global": Sequence([Scale([2, 2], axes=("x", "y")), Translation([10, 20], axes=("x", "y"))])},
    "affine": {
        "global": Affine([[0.8, -0.6, 5], [0.6, 0.8, 6], [0, 0, 1]], input_axes=("x", "y"), output_axes=("x", "y"))
    },
}
for name, transformations in TRANSFORMATIONS.items():

    @writer.store(f"{name}.zarr")
    def _(path: Path, transformations: dict[str, Any] = transformations) -> list[Image]:
        element = Image2DModel.parse(
            pattern((2, 64, 80)),
            dims=("c", "y", "x"),
            c_coords=["DAPI", "GFP"],
            scale_factors=[2, 2],
            transformations=transformations,
        )
        return write(path, images={"image": element})


if __name__ == "__main__":
    writer.run()
