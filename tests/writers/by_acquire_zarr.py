# /// script
# requires-python = ">=3.11"
# dependencies = ["acquire-zarr", "zarr"]
# ///
"""acquire-zarr (C++): streams of a camera. It has no reader; zarr-python reads them back."""

import json
from pathlib import Path
from typing import Any

import acquire_zarr
import numpy as np
import zarr
from truth import Image, Writer, pattern

writer = Writer("acquire-zarr", "zarr")
KINDS = {"t": "TIME", "c": "CHANNEL", "z": "SPACE", "y": "SPACE", "x": "SPACE"}


def write(path: Path, data: np.ndarray, axes: str, chunks: tuple[int, ...], shards: tuple[int, ...], **more: Any) -> Image:
    lengths = {"t": 1.5, "c": 1.0, "z": 2.0, "y": 0.4, "x": 0.4}
    dimensions = [
        acquire_zarr.Dimension(
            name=axis,
            kind=getattr(acquire_zarr.DimensionType, KINDS[axis]),
            array_size_px=length if number else 0,
            chunk_size_px=chunk,
            shard_size_chunks=shard,
            unit={"t": "second", "c": ""}.get(axis, "micrometer"),
            scale=lengths[axis],
        )
        for number, (axis, length, chunk, shard) in enumerate(zip(axes, data.shape, chunks, shards))
    ]
    array = acquire_zarr.ArraySettings(dimensions=dimensions, data_type=data.dtype, **more)
    stream = acquire_zarr.ZarrStream(
        acquire_zarr.StreamSettings(store_path=str(path), arrays=[array], overwrite=True)
    )
    stream.append(data)
    stream.close()
    group = zarr.open(path, mode="r")
    facts: dict[str, Any] = {}
    levels = [group]
    if isinstance(group, zarr.Group):
        datasets = json.loads((path / "zarr.json").read_text())["attributes"]["ome"]["multiscales"][0]["datasets"]
        levels = [group[each["path"]] for each in datasets]
        facts["voxel"] = {axis: lengths[axis] for axis in axes if axis in "zyx"}
        facts["time_step"] = 1.5 if "t" in axes else None
    return Image(axes, [level[:] for level in levels], **facts)


@writer.store("plain.zarr")
def _(path: Path) -> list[Image]:
    return [write(path, pattern((3, 2, 6, 48, 80)), "tczyx", (1, 1, 2, 16, 32), (1, 1, 1, 1, 1))]


@writer.store("pyramid.zarr")
def _(path: Path) -> list[Image]:
    mean = acquire_zarr.DownsamplingMethod.MEAN
    return [
        write(path, pattern((2, 2, 6, 48, 80)), "tczyx", (1, 1, 2, 16, 32), (2, 1, 2, 3, 2), downsampling_method=mean)
    ]


@writer.store("tyx_compressed.zarr")
def _(path: Path) -> list[Image]:
    compression = acquire_zarr.CompressionSettings(
        compressor=acquire_zarr.Compressor.BLOSC1,
        codec=acquire_zarr.CompressionCodec.BLOSC_ZSTD,
        level=1,
        shuffle=2,
    )
    return [write(path, pattern((5, 48, 80), "uint8"), "tyx", (1, 16, 16), (1, 3, 5), compression=compression)]


if __name__ == "__main__":
    writer.run()
