"""A store of two chunks that changes as stores do: each file is exchanged whole, by a rename.

Level 0 has the shape (16, 256, 256), one chunk for each half of z; level 1 is computed. So each state
of the store shows in the voxels of two levels and in the statistics."""

import array
import io
import json
import os
import threading
import time
from bisect import bisect_right

import h5py
import numpy

SHAPE = [16, 256, 256]
CHUNK = [8, 256, 256]

# Between the values of two states, more than the width of two bins of a histogram.
STEP = 8
FIRST = 100


def value_of(state):
    return FIRST + STEP * state


def write(path, text):
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(text if isinstance(text, bytes) else json.dumps(text).encode())
    os.rename(new, path)


def red_of(state):
    """Never 0: black is shown as white."""
    return 1 + state % 255


def attributes(number):
    """Three parts that must belong together."""
    return {
        "multiscales": [{
            "version": "0.4",
            "axes": [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"],
            "datasets": [{"path": "0", "coordinateTransformations": [
                {"type": "scale", "scale": [1.0, 1.0, 1.0]}]}],
        }],
        "omero": {"channels": [{
            "label": f"state {number}", "color": f"{red_of(number):02X}0000", "active": True,
            "window": {"min": 0, "max": 65535, "start": 0, "end": 1000 + number},
        }]},
    }


class Store:
    """A store, and when each of its states began."""

    def __init__(self, path):
        self.path = path
        (path / "0").mkdir(parents=True)
        write(path / ".zgroup", {"zarr_format": 2})
        write(path / ".zattrs", attributes(0))
        write(path / "0" / ".zarray", {
            "zarr_format": 2, "shape": SHAPE, "chunks": CHUNK, "dtype": "<u2", "compressor": None,
            "filters": None, "fill_value": 0, "order": "C", "dimension_separator": ".",
        })
        self.chunk(0, FIRST)
        self.chunk(1, 7)

    def chunk(self, number, value):
        voxels = CHUNK[0] * CHUNK[1] * CHUNK[2]
        write(self.path / "0" / f"{number}.0.0", array.array("H", [value]).tobytes() * voxels)

    def remove_chunk(self, number):
        (self.path / "0" / f"{number}.0.0").unlink()


def write_noise(path, mib):
    """A store at rest, of noise: `mib` chunks of 1 MiB."""
    seed = time.time_ns() % 1_000_000
    noise = numpy.random.default_rng(seed)
    print(f"{path.name}: seed {seed}", flush=True)
    (path / "0").mkdir(parents=True)
    write(path / ".zgroup", {"zarr_format": 2})
    write(path / ".zattrs", attributes(0))
    write(path / "0" / ".zarray", {
        "zarr_format": 2, "shape": [8 * mib, 256, 256], "chunks": [8, 256, 256], "dtype": "<u2",
        "compressor": None, "filters": None, "fill_value": 0, "order": "C", "dimension_separator": ".",
    })
    for number in range(mib):
        write(path / "0" / f"{number}.0.0", noise.bytes(1 << 20))


class Changes:
    """Makes the next change of a store every so often, in the background."""

    def __init__(self, every, change):
        self.every, self.change = every, change
        self.times, self.ends = [time.monotonic()], threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.ends.wait(self.every):
            # First the time: what is seen earlier than this is a fault.
            self.times.append(time.monotonic())
            self.change(len(self.times) - 1)

    def at(self, moment):
        """Number of the state at a moment."""
        return max(0, bisect_right(self.times, moment) - 1)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ends.set()
        self.thread.join()


def assert_counted(channel, values):
    """The histogram counts these values and no others."""
    least, most = (float(text(channel.attrs[f"Histogram{end}"])) for end in ("Min", "Max"))
    counts = channel["Histogram"][:]
    width = (most - least) / len(counts)
    counted = [least + (bin + 0.5) * width for bin in numpy.flatnonzero(counts)]
    near = [[abs(found - value) <= STEP / 2 for value in values] for found in counted]
    assert all(any(row) for row in near) and all(any(column) for column in zip(*near)), \
        f"statistics of another state: {counted}, {values}"


def text(attribute):
    return b"".join(attribute.tolist()).decode()


class Seen:
    """What the bytes of a file show, which must be one state."""

    def __init__(self, data):
        self.halves = []
        with h5py.File(io.BytesIO(data), "r") as file:
            info = file["DataSetInfo/Channel 0"].attrs
            self.name, self.color = text(info["Name"]), text(info["Color"])
            for level in (0, 1):
                channel = file[f"DataSet/ResolutionLevel {level}/TimePoint 0/Channel 0"]
                z, y, x = (int(text(channel.attrs[f"ImageSize{axis}"])) for axis in "ZYX")
                voxels = channel["Data"][:z, :y, :x]
                halves = voxels[: z // 2], voxels[z // 2 :]
                values = tuple(int(half[0, 0, 0]) for half in halves)
                for half, value in zip(halves, values):
                    assert numpy.all(half == value), f"a mix within level {level}"
                assert_counted(channel, values)
                self.halves.append(values)
        assert self.halves[0] == self.halves[1], f"levels of two states: {self.halves}"
