# /// script
# requires-python = ">=3.11"
# dependencies = ["multiview-stitcher"]
# ///
"""multiview-stitcher: tiles with positions."""

from pathlib import Path
from typing import Any

import numpy as np
from multiview_stitcher import ngff_utils, spatial_image_utils
from truth import Image, Writer, pattern

writer = Writer("multiview-stitcher", "ngff-zarr", "zarr")


def tile(shape: tuple[int, ...], axes: str, scale: dict[str, float], at: dict[str, float], **more: Any) -> Any:
    return spatial_image_utils.get_sim_from_array(
        pattern(shape), dims=list(axes), scale=scale, translation=at, transform_key="stage", **more
    )


def read(path: Path) -> Image:
    """The image as the library reads it; it always has times and channels."""
    image = ngff_utils.read_sim_from_ome_zarr(str(path))
    levels = [np.asarray(image.data)]
    resolution = 1
    while (path / str(resolution)).exists():
        levels.append(np.asarray(ngff_utils.read_sim_from_ome_zarr(str(path), resolution_level=resolution).data))
        resolution += 1
    return Image(
        "".join(image.dims),
        levels,
        voxel=spatial_image_utils.get_spacing_from_sim(image),
        origin=spatial_image_utils.get_origin_from_sim(image),
        channels=[str(name) for name in image.coords["c"].values],
    )


for version in ("0.4", "0.5"):

    @writer.store(f"volume_{version}.ome.zarr")
    def _(path: Path, version: str = version) -> list[Image]:
        scale, at = {"z": 2.0, "y": 0.5, "x": 0.25}, {"z": 10.0, "y": -20.0, "x": 30.0}
        sim = tile((1, 2, 20, 80, 100), "tczyx", scale, at, c_coords=["DAPI", "GFP"])
        ngff_utils.write_sim_to_ome_zarr(sim, str(path), overwrite=True, ngff_version=version)
        return [read(path)]

    @writer.store(f"plane_{version}.ome.zarr")
    def _(path: Path, version: str = version) -> list[Image]:
        sim = tile((200, 150), "yx", {"y": 0.65, "x": 0.65}, {"y": 100.0, "x": 0.0})
        ngff_utils.write_sim_to_ome_zarr(sim, str(path), overwrite=True, ngff_version=version)
        return [read(path)]


if __name__ == "__main__":
    writer.run()
