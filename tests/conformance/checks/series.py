"""Series of small volumes: what every reader must see of them, and what the file says of each volume.

Run as a program, writes them as OME-Zarr stores below a folder."""

import sys
from datetime import datetime, timedelta
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import zarr

from .image import Image, Level, Size, digest, voxels_of_level
from .stores import NAMES, TIME_STEP, Reference, coarser, create, create_level

SIZES: tuple[Size, ...] = ((8, 32, 32), (4, 16, 16))
"""Of the levels, z, y, x. Both are stored: images this small have no others."""


def _series(times: int, channels: int, ngff: str) -> Reference:
    levels = tuple((size, 0) for size in SIZES)
    name = f"u16_c{channels}_t{times}_2lev_series"
    return Reference(name, "uint16", times, channels, (2, 0.5, 0.5), (0, 0, 0), levels, ngff)


SERIES = (_series(3, 2, "0.4"), _series(1000, 4, "0.5"))
"""The long one is sharded: it has a chunk for each volume, but not a file."""


def levels(series: Reference) -> list[np.ndarray]:
    """All levels (t, c, z, y, x). No two volumes of a level are equal, and their largest values have all sizes from
    100 to 1500, so that some have a bin for each value, and some have not."""
    number = np.arange(series.times * series.channels).reshape(-1, series.channels, 1, 1, 1)
    span = 101 + 37 * number % 1409
    z, y, x = np.ogrid[tuple(map(slice, SIZES[0]))]
    finest = ((977 * z + 31 * y + 5 * x + number) % span).astype(series.dtype)
    # Each volume has its number in its first two voxels.
    finest[..., 0, 0, 0] = number[..., 0, 0, 0] % 100
    finest[..., 0, 0, 1] = number[..., 0, 0, 0] // 100
    return [finest, coarser(finest, SIZES[1])]


def expected(series: Reference) -> Image:
    """What every reader must see."""
    found = []
    for size, data in zip(SIZES, levels(series)):
        hashes = [[digest(volume) for volume in channels] for channels in data]
        if len(set(sum(hashes, []))) != series.times * series.channels:
            raise ValueError(f"{series.name}: volumes of a level are equal")
        voxel = voxels_of_level(series.voxel, SIZES[0], size)
        found.append(Level(size, series.dtype, voxel, hashes))
    return Image(series.times, series.channels, list(NAMES[: series.channels]), found)


SAMPLED = "u16_c2_t6_1lev_sampled"
"""A store that is large, has one level only, and does not say how bright it is."""


def write_sampled(store: Path) -> None:
    """Writes it. Voxels become brighter with time and with z: a part of them does not look like all."""
    times, channels, z, y, x = np.ogrid[:6, :2, :48, :192, :192]
    data = 40 * times + 300 * channels + z * z + (x * y) % 97
    axes = [{"name": a, "type": "space"} for a in "zyx"]
    axes = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}, *axes]
    scale = [{"type": "scale", "scale": [1.0] * 5}]
    datasets = [{"path": "0", "coordinateTransformations": scale}]
    multiscales = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    group = zarr.create_group(store, zarr_format=2, attributes={"multiscales": multiscales})
    create_level(group, "0", data.shape, "uint16")[...] = data.astype("uint16")


def write(series: Reference, store: Path) -> None:
    """Writes all levels as an OME-Zarr store."""
    group = create(series, store, range(series.channels), levels=len(SIZES))
    for r, data in enumerate(levels(series)):
        shards = (100, *data.shape[1:]) if series.times > 100 else None
        create_level(group, str(r), data.shape, series.dtype, shards)[...] = data


FEWEST_BINS, MOST_BINS, COARSE_BINS = 257, 1024, 256
"""Of `Histogram1024`, and all of `Histogram`."""

SMALL = 16 << 20
"""Voxels of images that are counted whole. Of larger ones one level is, here the finest; its bins are scaled."""

START = datetime(2000, 1, 1)
"""Of series that do not say when they were acquired."""


def faults(path: Path, series: Reference) -> Iterator[str]:
    """A message for each histogram and each time stamp that is not that of its volume."""
    data = levels(series)
    is_small = data[0].size <= SMALL
    with h5py.File(path, "r") as file:
        stamps = file["DataSetInfo/TimeInfo"].attrs
        for t in range(series.times):
            seconds = TIME_STEP * t
            wanted = (START + timedelta(seconds=seconds)).isoformat(" ", "auto")[:23]
            if (stamp := _text(stamps[f"TimePoint{t + 1}"])) != wanted:
                yield f"time point {t} has the stamp {stamp}, expected {wanted}"
        for r, level in enumerate(data):
            times = file[f"DataSet/ResolutionLevel {r}"]
            for t in range(series.times):
                channels = times[f"TimePoint {t}"]
                for c in range(series.channels):
                    counted = level[t, c] if is_small else data[0][t, c]
                    for fault in _of_volume(channels[f"Channel {c}"], level[t, c].size, counted):
                        yield f"level {r}, t {t}, c {c}: {fault}"


def _of_volume(group: h5py.Group, voxels: int, counted: np.ndarray) -> Iterator[str]:
    """`voxels`: of the volume; `counted`: that from which its bins are made."""
    largest = max(int(counted.max()), FEWEST_BINS - 1)
    fine = np.bincount(counted.ravel(), minlength=largest + 1)
    fine = _resampled(fine, min(len(fine), MOST_BINS))
    for name in ("HistogramMin", "HistogramMin1024"):
        if (text := _text(group.attrs[name])) != "0.000":
            yield f"{name} is {text}"
    for name in ("HistogramMax", "HistogramMax1024"):
        if (text := _text(group.attrs[name])) != f"{largest}.000":
            yield f"{name} is {text}, expected {largest}.000"
    bins = group["Histogram1024"][...]
    if bins.sum() != voxels:
        yield f"the bins of Histogram1024 sum to {bins.sum()}, expected {voxels}"
    # Exactly, where nothing is scaled.
    elif len(bins) != len(fine) or (abs(bins - fine * (voxels / counted.size)) >= 1).any():
        yield "Histogram1024 is not that of the voxels"
    if not np.array_equal(group["Histogram"][...], _resampled(bins, COARSE_BINS)):
        yield "Histogram is not that of Histogram1024"


def _resampled(bins: np.ndarray, number: int) -> np.ndarray:
    """By the rule of ImarisWriter (bpHistogram.cxx)."""
    places = np.arange(len(bins)) * number // len(bins)
    return np.bincount(places, bins, number).astype(int)


def _text(value: np.ndarray) -> str:
    return value.tobytes().decode()


if __name__ == "__main__":
    for each in SERIES:
        write(each, Path(sys.argv[1], f"{each.name}.ome.zarr"))
    write_sampled(Path(sys.argv[1], f"{SAMPLED}.ome.zarr"))
