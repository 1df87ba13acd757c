# /// script
# requires-python = ">=3.11"
# dependencies = ["zarr", "crc32c", "msgpack"]
# ///
"""zarr-python: plain arrays with its own defaults and with its codecs, and images whose metadata a user wrote."""

from pathlib import Path

import numcodecs
import zarr
from truth import Image, Writer, pattern
from zarr import codecs

writer = Writer("zarr", "numcodecs", "numpy")


def ome(axes: str, scales: list[list[float]], **more: object) -> dict[str, object]:
    """Attributes of NGFF 0.5 for levels 0, 1 ...; lengths in micrometres, times in seconds."""
    kinds = {"t": ("time", "second"), "c": ("channel", None)}
    entries = []
    for axis in axes:
        kind, unit = kinds.get(axis, ("space", "micrometer"))
        entries.append({"name": axis, "type": kind} | ({"unit": unit} if unit else {}))
    datasets = [
        {"path": str(n), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        for n, scale in enumerate(scales)
    ]
    return {"version": "0.5", "multiscales": [{"axes": entries, "datasets": datasets}], **more}


@writer.store("all by default.zarr")
def _(path: Path) -> list[Image]:
    array = zarr.create_array(path, shape=(5, 30, 40), dtype="uint16")
    array[:] = pattern((5, 30, 40))
    return [Image("zyx", [zarr.open_array(path, mode="r")[:]])]


@writer.store("save.zarr")
def _(path: Path) -> list[Image]:
    zarr.save_array(path, pattern((33, 47), "uint8"))
    return [Image("yx", [zarr.load(path)])]


@writer.store("save_group.zarr")
def _(path: Path) -> list[Image]:
    zarr.save_group(path, first=pattern((9, 20, 21), "float32", 1), second=pattern((2, 3, 18, 19), "int16", 2))
    group = zarr.open_group(path, mode="r")
    return [Image("zyx", [group["first"][:]], "first"), Image("czyx", [group["second"][:]], "second")]


for number, dtype in enumerate(
    "bool int8 uint8 int16 uint16 int32 uint32 int64 uint64 float16 float32 float64".split()
):
    for zarr_format in (2, 3):

        @writer.store(f"{dtype}_v{zarr_format}.zarr")
        def _(path: Path, dtype: str = dtype, zarr_format: int = zarr_format, seed: int = number) -> list[Image]:
            data = pattern((4, 17, 23), dtype, seed)
            zarr.create_array(path, data=data, chunks=(3, 8, 10), zarr_format=zarr_format)
            return [Image("zyx", [zarr.open_array(path, mode="r")[:]])]


@writer.store("pyramid_v3.ome.zarr")
def _(path: Path) -> list[Image]:
    data = pattern((2, 2, 6, 40, 60))
    group = zarr.create_group(
        path, attributes={"ome": ome("tczyx", [[2.5, 1, 2, 0.5, 0.5], [2.5, 1, 2, 1, 1], [2.5, 1, 4, 2, 2]])}
    )
    for n, level in enumerate((data, data[..., ::2, ::2], data[..., ::2, ::4, ::4])):
        group.create_array(str(n), data=level, chunks=(1, 1, 3, 16, 16), dimension_names=list("tczyx"))
    read = zarr.open_group(path, mode="r")
    voxel = {"z": 2, "y": 0.5, "x": 0.5}
    return [Image("tczyx", [read[str(n)][:] for n in range(3)], voxel=voxel, time_step=2.5)]


@writer.store("shards.ome.zarr")
def _(path: Path) -> list[Image]:
    data = pattern((3, 10, 45, 70), "uint8", 5)
    group = zarr.create_group(path, attributes={"ome": ome("czyx", [[1, 3, 0.25, 0.25]])})
    group.create_array("0", data=data, chunks=(1, 5, 16, 16), shards=(1, 10, 32, 32))
    return [Image("czyx", [zarr.open_group(path, mode="r")["0"][:]], voxel={"z": 3, "y": 0.25, "x": 0.25})]


@writer.store("shards_auto.zarr")
def _(path: Path) -> list[Image]:
    zarr.create_array(path, data=pattern((40, 60, 80), seed=6), chunks="auto", shards="auto")
    return [Image("zyx", [zarr.open_array(path, mode="r")[:]])]


@writer.store("consolidated.ome.zarr")
def _(path: Path) -> list[Image]:
    group = zarr.create_group(path, zarr_format=2)
    group.attrs["multiscales"] = [{"version": "0.4", **ome("zyx", [[1, 2, 3]])["multiscales"][0]}]
    group.create_array("0", data=pattern((5, 21, 22)), chunk_key_encoding={"name": "v2", "separator": "/"})
    zarr.consolidate_metadata(path)
    return [Image("zyx", [zarr.open_consolidated(path)["0"][:]], voxel={"z": 1, "y": 2, "x": 3})]


@writer.store("zip.zarr.zip")
def _(path: Path) -> list[Image]:
    with zarr.storage.ZipStore(path, mode="w") as store:
        group = zarr.create_group(store, attributes={"ome": ome("zyx", [[1, 2, 3]])})
        group.create_array("0", data=pattern((7, 24, 25)), chunks=(3, 10, 10))
    with zarr.storage.ZipStore(path, mode="r") as store:
        return [Image("zyx", [zarr.open_group(store, mode="r")["0"][:]], voxel={"z": 1, "y": 2, "x": 3})]


@writer.store("absent chunks.zarr")
def _(path: Path) -> list[Image]:
    array = zarr.create_array(path, shape=(6, 30, 40), chunks=(2, 16, 16), dtype="int32", fill_value=-7)
    array[2:4, 5:20, 20:30] = pattern((2, 15, 10), "int32")
    return [Image("zyx", [zarr.open_array(path, mode="r")[:]])]


@writer.store("order_f_big_endian.zarr")
def _(path: Path) -> list[Image]:
    data = pattern((6, 21, 34), ">u2")
    zarr.create_array(path, data=data, chunks=(4, 10, 10), zarr_format=2, order="F")
    return [Image("zyx", [zarr.open_array(path, mode="r")[:].astype("uint16")])]


V3 = {
    "blosc": {"compressors": codecs.BloscCodec(cname="lz4", shuffle="bitshuffle")},
    "gzip": {"compressors": codecs.GzipCodec(level=3)},
    "zstd_crc32c": {"compressors": [codecs.ZstdCodec(level=3, checksum=True), codecs.Crc32cCodec()]},
    "none": {"compressors": None},
    "transpose": {"filters": codecs.TransposeCodec(order=(2, 0, 1))},
    "big_endian": {"serializer": codecs.BytesCodec(endian="big")},
}
for name, settings in V3.items():

    @writer.store(f"v3_{name}.zarr")
    def _(path: Path, settings: dict = settings) -> list[Image]:
        zarr.create_array(path, data=pattern((7, 22, 33), seed=9), chunks=(4, 10, 12), **settings)
        return [Image("zyx", [zarr.open_array(path, mode="r")[:]])]


def _numcodecs_v3() -> dict[str, dict]:
    """Codecs of numcodecs under their names in v3; the module moved in between."""
    try:
        from zarr.codecs import numcodecs as own
    except ImportError:
        from numcodecs import zarr3 as own
    u2 = {"dtype": "<u2"}
    return {
        "Blosc": {"compressors": own.Blosc(cname="zstd", shuffle=2)},
        "LZ4": {"compressors": own.LZ4()},
        "Zstd": {"compressors": own.Zstd(level=2)},
        "Zlib": {"compressors": own.Zlib()},
        "GZip": {"compressors": own.GZip()},
        "BZ2": {"compressors": own.BZ2()},
        "LZMA": {"compressors": own.LZMA()},
        "Shuffle": {"compressors": [own.Shuffle(elementsize=2), own.Zlib()]},
        "CRC32": {"compressors": [own.Zlib(), own.CRC32()]},
        "CRC32C": {"compressors": [own.Zlib(), own.CRC32C()]},
        "Adler32": {"compressors": [own.Zlib(), own.Adler32()]},
        "Fletcher32": {"compressors": [own.Fletcher32()]},
        "JenkinsLookup3": {"compressors": [own.JenkinsLookup3()]},
        "Delta": {"filters": own.Delta(**u2)},
        "AsType": {"filters": own.AsType(encode_dtype="<u4", decode_dtype="<u2")},
        "FixedScaleOffset": {"filters": own.FixedScaleOffset(offset=10, scale=1, dtype="<u2", astype="<u2")},
    }


for name in (
    "Blosc LZ4 Zstd Zlib GZip BZ2 LZMA Shuffle CRC32 CRC32C Adler32 Fletcher32 JenkinsLookup3 Delta AsType"
    " FixedScaleOffset"
).split():

    @writer.store(f"v3_numcodecs_{name}.zarr")
    def _(path: Path, name: str = name) -> list[Image]:
        data = pattern((7, 22, 33), seed=9)
        zarr.create_array(path, data=data, chunks=(4, 10, 12), **_numcodecs_v3()[name])
        return [Image("zyx", [zarr.open_array(path, mode="r")[:]])]


V2 = {
    "blosc": {"compressors": numcodecs.Blosc(cname="zlib", shuffle=1)},
    "lz4": {"compressors": numcodecs.LZ4()},
    "lzma": {"compressors": numcodecs.LZMA()},
    "bz2": {"compressors": numcodecs.BZ2()},
    "zstd": {"compressors": numcodecs.Zstd(checksum=True)},
    "none": {"compressors": None},
    "delta": {"filters": [numcodecs.Delta(dtype="<u2")], "compressors": numcodecs.Zlib()},
    "delta_astype": {"filters": [numcodecs.Delta(dtype="<u2", astype="<i2")]},
    "shuffle": {"filters": [numcodecs.Shuffle(elementsize=2)], "compressors": numcodecs.Zlib()},
    "fixedscaleoffset": {"filters": [numcodecs.FixedScaleOffset(offset=5, scale=1, dtype="<u2", astype="<i4")]},
    "crc32": {"filters": [numcodecs.CRC32()]},
    "adler32": {"filters": [numcodecs.Adler32()]},
    "fletcher32": {"filters": [numcodecs.Fletcher32()]},
    "jenkins": {"filters": [numcodecs.JenkinsLookup3()]},
}
for name, settings in V2.items():

    @writer.store(f"v2_{name}.zarr")
    def _(path: Path, settings: dict = settings) -> list[Image]:
        zarr.create_array(path, data=pattern((7, 22, 33), seed=9), chunks=(4, 10, 12), zarr_format=2, **settings)
        return [Image("zyx", [zarr.open_array(path, mode="r")[:]])]


@writer.store("v2_packbits.zarr")
def _(path: Path) -> list[Image]:
    data = pattern((7, 22, 33), "bool")
    zarr.create_array(path, data=data, chunks=(4, 10, 12), zarr_format=2, filters=[numcodecs.PackBits()])
    return [Image("zyx", [zarr.open_array(path, mode="r")[:]])]


for name, codec in (("bitround", numcodecs.BitRound(10)), ("quantize", numcodecs.Quantize(2, "<f4"))):

    @writer.store(f"v2_{name}.zarr")
    def _(path: Path, codec: object = codec) -> list[Image]:
        data = pattern((7, 22, 33), "float32")
        zarr.create_array(path, data=data, chunks=(4, 10, 12), zarr_format=2, filters=[codec])
        return [Image("zyx", [zarr.open_array(path, mode="r")[:]])]


if __name__ == "__main__":
    writer.run()
