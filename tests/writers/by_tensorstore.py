# /// script
# requires-python = ">=3.11"
# dependencies = ["tensorstore", "numpy"]
# ///
"""tensorstore: arrays without metadata of images."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorstore
from truth import Image, Writer, pattern

writer = Writer("tensorstore", "numpy")


def written(driver: str, path: Path, data: np.ndarray, metadata: dict[str, Any] | None = None, **more: Any) -> Any:
    """The array as tensorstore reads it in a new opening."""
    spec: dict[str, Any] = {"driver": driver, "kvstore": {"driver": "file", "path": f"{path}/"}}
    created = tensorstore.open(
        {**spec, **({"metadata": metadata} if metadata else {}), **more},
        create=True,
        dtype=data.dtype if not metadata else None,
        shape=data.shape if not metadata else None,
    ).result()
    created.write(data).result()
    return tensorstore.open(spec).result().read().result()


for driver in ("zarr", "zarr3"):
    for dtype, axes, shape in (
        ("uint8", "yx", (45, 67)),
        ("uint16", "zyx", (9, 30, 41)),
        ("float32", "czyx", (2, 5, 20, 31)),
        ("int64", "tczyx", (2, 2, 3, 20, 25)),
        ("bool", "zyx", (5, 20, 21)),
    ):

        @writer.store(f"{driver} {dtype} {axes}")
        def _(
            path: Path, driver: str = driver, dtype: str = dtype, axes: str = axes, shape: tuple[int, ...] = shape
        ) -> list[Image]:
            return [Image(axes, [written(driver, path, pattern(shape, dtype))])]


V2: dict[str, dict[str, Any]] = {
    "blosc": {"compressor": {"id": "blosc", "cname": "zstd", "clevel": 3, "shuffle": 2}},
    "bz2": {"compressor": {"id": "bz2", "level": 2}},
    "zlib_big_endian_f": {"compressor": {"id": "zlib", "level": 4}, "dtype": ">u2", "order": "F"},
    "zstd_nested": {"compressor": {"id": "zstd", "level": 1}, "dimension_separator": "/"},
    "raw_filled": {"compressor": None, "fill_value": 17},
}
for name, metadata in V2.items():

    @writer.store(f"v2_{name}.zarr")
    def _(path: Path, metadata: dict[str, Any] = metadata) -> list[Image]:
        data = pattern((13, 29, 31))
        whole = {"shape": data.shape, "chunks": [5, 16, 10], "dtype": "<u2", **metadata}
        return [Image("zyx", [written("zarr", path, data, whole).astype("uint16")])]


@writer.store("v2_resized.zarr")
def _(path: Path) -> list[Image]:
    spec = {"driver": "zarr", "kvstore": {"driver": "file", "path": f"{path}/"}}
    metadata = {"shape": [4, 20, 30], "chunks": [3, 8, 8], "dtype": "<f4", "fill_value": None}
    array = tensorstore.open({**spec, "metadata": metadata}, create=True).result()
    array.write(pattern((4, 20, 30), "float32")).result()
    array.resize(exclusive_max=[7, 23, 26], resize_metadata_only=False).result()
    return [Image("zyx", [tensorstore.open(spec).result().read().result()])]


def shards(inner: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": [4, 8, 16],
            "codecs": inner,
            "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
            **more,
        },
    }


LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
V3: dict[str, list[dict[str, Any]]] = {
    "blosc": [LITTLE, {"name": "blosc", "configuration": {"cname": "lz4", "clevel": 5, "shuffle": "shuffle"}}],
    "gzip_crc32c": [LITTLE, {"name": "gzip", "configuration": {"level": 3}}, {"name": "crc32c"}],
    "zstd_transposed": [
        {"name": "transpose", "configuration": {"order": [2, 0, 1]}},
        LITTLE,
        {"name": "zstd", "configuration": {"level": 2}},
    ],
    "big_endian": [{"name": "bytes", "configuration": {"endian": "big"}}],
    "shards": [shards([LITTLE, {"name": "zstd", "configuration": {"level": 1}}])],
    "shards_index_first": [shards([LITTLE, {"name": "crc32c"}], index_location="start")],
    "shards_transposed": [
        {"name": "transpose", "configuration": {"order": [0, 1, 2]}},
        shards([{"name": "transpose", "configuration": {"order": [2, 1, 0]}}, LITTLE]),
    ],
}
for name, codecs in V3.items():

    @writer.store(f"v3_{name}")
    def _(path: Path, codecs: list[dict[str, Any]] = codecs) -> list[Image]:
        data = pattern((12, 40, 50))
        grid = {"name": "regular", "configuration": {"chunk_shape": [8, 16, 32]}}
        metadata = {
            "shape": data.shape,
            "data_type": "uint16",
            "chunk_grid": grid,
            "codecs": codecs,
            "dimension_names": ["z", "y", "x"],
        }
        return [Image("zyx", [written("zarr3", path, data, metadata)])]


@writer.store("v3_units.zarr")
def _(path: Path) -> list[Image]:
    data = pattern((12, 40, 50))
    schema = {"dimension_units": ["40 nm", "4 nm", "4 nm"], "domain": {"labels": ["z", "y", "x"], "shape": data.shape}}
    read = written("zarr3", path, data, schema=schema)
    return [Image("zyx", [read])]


if __name__ == "__main__":
    writer.run()
