# /// script
# requires-python = ">=3.11"
# dependencies = ["xarray", "zarr", "dask", "multiscale-spatial-image", "spatial-image"]
# ///
"""xarray, dask and multiscale-spatial-image: axes by names of dimensions, voxel sizes by coordinate arrays."""

from pathlib import Path

import dask.array
import numpy as np
import xarray
from multiscale_spatial_image import to_multiscale
from spatial_image import to_spatial_image
from truth import Image, Writer, pattern

writer = Writer("xarray", "multiscale-spatial-image", "dask", "zarr")



for zarr_format in (2, 3):

    @writer.store(f"variables_v{zarr_format}.zarr")
    def _(path: Path, zarr_format: int = zarr_format) -> list[Image]:
        volume = xarray.DataArray(pattern((6, 20, 26), "float32"), dims=("z", "y", "x"))
        plane = xarray.DataArray(pattern((20, 26), "int16"), dims=("y", "x"))
        xarray.Dataset({"volume": volume, "plane": plane}).to_zarr(path, zarr_format=zarr_format, consolidated=False)
        read = xarray.open_zarr(path, consolidated=False, mask_and_scale=False)
        return [Image("zyx", [read["volume"].values], "volume"), Image("yx", [read["plane"].values], "plane")]

    @writer.store(f"coordinates_v{zarr_format}.zarr")
    def _(path: Path, zarr_format: int = zarr_format) -> list[Image]:
        data = pattern((2, 2, 4, 20, 26))
        steps = {"z": 2.0, "y": 0.5, "x": 0.25}
        coords = {
            axis: (axis, 10 + step * np.arange(data.shape["tczyx".index(axis)]), {"units": "micrometer"})
            for axis, step in steps.items()
        }
        coords["c"] = ["red", "green"]
        array = xarray.DataArray(data, dims=list("tczyx"), coords=coords, name="image")
        array.to_dataset().to_zarr(path, zarr_format=zarr_format, consolidated=False)
        read = xarray.open_zarr(path, consolidated=False)["image"]
        voxel = {axis: float(read[axis].diff(axis).mean()) for axis in steps}
        return [Image("tczyx", [read.values], "image", voxel=voxel)]


@writer.store("transposed.zarr")
def _(path: Path) -> list[Image]:
    data = pattern((26, 20, 6))
    xarray.DataArray(data, dims=("x", "y", "z"), name="image").to_dataset().to_zarr(path, consolidated=False)
    return [Image("xyz", [xarray.open_zarr(path, consolidated=False)["image"].values], "image")]


@writer.store("dask.zarr")
def _(path: Path) -> list[Image]:
    dask.array.from_array(pattern((9, 40, 50)), chunks=(4, 16, 20)).to_zarr(str(path))
    return [Image("zyx", [dask.array.from_zarr(str(path)).compute()])]


@writer.store("multiscale.zarr")
def _(path: Path) -> list[Image]:
    image = to_spatial_image(
        pattern((16, 40, 60)),
        dims=["z", "y", "x"],
        scale={"z": 2.0, "y": 0.5, "x": 0.25},
        translation={"z": 10.0, "y": 20.0, "x": 30.0},
        axis_units={axis: "micrometer" for axis in "zyx"},
    )
    to_multiscale(image, [2, 2]).to_zarr(str(path), mode="w", consolidated=False)
    tree = xarray.open_datatree(str(path), engine="zarr", consolidated=False)
    # Nothing in the store says that the three are levels of one image.
    images = []
    for name, node in tree.children.items():
        array = node["image"]
        voxel = {axis: float(array[axis].diff(axis).mean()) for axis in "zyx"}
        images.append(Image("zyx", [array.values], f"{name}/image", voxel=voxel))
    return images


if __name__ == "__main__":
    writer.run()
