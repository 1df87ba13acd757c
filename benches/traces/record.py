"""Records which bricks a mixed day of work looks up: `mixed.txt`, which the cache is tested with.

    target/conformance/venv/bin/python benches/traces/record.py target/release/zarrims-mount

Two people look at twelve images of 512 MiB: they open one, look at the coarsest levels, go to a place
and step through its planes at full resolution. Meanwhile an image of 8 GiB is copied from end to
end, and one of 512 MiB twice. The daemon tells of every lookup on its log at trace level.

A line of the trace is a run of lookups: image, level (65535: the metadata region), first brick, number
of bricks, bytes of each, and 1 where the program says that no scan may drive it out.
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy

CHUNK = 64
CACHE = "1GiB"


def write_store(path: Path, shape: list[int], chunk: Path) -> None:
    """A store with a pyramid whose chunks are all names of one file."""
    datasets = []
    level = 0
    while True:
        array = path / str(level)
        array.mkdir(parents=True)
        document = {
            "zarr_format": 3, "node_type": "array", "shape": shape, "data_type": "uint16",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [CHUNK] * 3}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
            "fill_value": 0, "attributes": {}}
        (array / "zarr.json").write_text(json.dumps(document))
        for z, y, x in numpy.ndindex(*[-(-n // CHUNK) for n in shape]):
            os.link(chunk, array / f"c.{z}.{y}.{x}")
        scale = [float(2**level)] * 3
        datasets.append({"path": str(level),
                         "coordinateTransformations": [{"type": "scale", "scale": scale}]})
        if max(shape) <= CHUNK:
            break
        shape = [max(n // 2, 1) for n in shape]
        level += 1
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    ome = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
    group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}}
    (path / "zarr.json").write_text(json.dumps(group))


def data(file: h5py.File, level: int) -> h5py.Dataset:
    return file[f"DataSet/ResolutionLevel {level}/TimePoint 0/Channel 0/Data"]


def look_at(path: Path, rng: random.Random) -> None:
    """Opens an image as a viewer does."""
    with h5py.File(path) as file:
        levels = len(file["DataSet"])
        for level in range(levels - 1, max(levels - 4, 0), -1):
            data(file, level)[...]
        finest = data(file, 0)
        place = [rng.randrange(max(n - 512, 1)) for n in finest.shape]
        for plane in range(24):
            z = min(place[0] + plane, finest.shape[0] - 1)
            finest[z, place[1] : place[1] + 512, place[2] : place[2] + 512]


def copy_part(path: Path, start: float, end: float) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(int(size * start))
        while file.tell() < size * end and file.read(1 << 20):
            pass


def record(program: str) -> list[str]:
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        source, mount, cache, log = (Path(folder) / name for name in ("s", "m", "c", "log"))
        for path in (source, mount):
            path.mkdir()
        chunk = Path(folder) / "chunk"
        numpy.arange(CHUNK**3, dtype="<u2").tofile(chunk)
        for number in range(12):
            write_store(source / f"small{number:02}.zarr", [256, 1024, 1024], chunk)
        write_store(source / "huge.zarr", [1024, 2048, 2048], chunk)
        environment = {**os.environ, "ZARRIMS_LOG": "warn,zarrims::cache=trace"}
        with log.open("wb") as out:
            daemon = subprocess.Popen(
                [program, source, mount, "--cache-dir", cache, "--cache-size", CACHE],
                stderr=out, env=environment)
            try:
                while not os.path.ismount(mount):
                    assert daemon.poll() is None, "the daemon has ended"
                for part in range(20):
                    for image in rng.sample(range(12), 3):
                        look_at(mount / f"small{image:02}.ims", rng)
                    copy_part(mount / "huge.ims", part / 20, (part + 1) / 20)
                    if part in (6, 13):
                        copy_part(mount / "small05.ims", 0, 1)
            finally:
                daemon.send_signal(signal.SIGTERM)
                daemon.wait()
        return log.read_text().splitlines()


def main() -> None:
    pattern = re.compile(r'lookup brick=(\w+)/(\d+)/(\d+) bytes=(\d+) proven=(\w+)')
    images: dict[str, int] = {}
    runs: list[list[int]] = []
    for line in record(sys.argv[1]):
        found = pattern.search(line)
        if not found:
            continue
        image = images.setdefault(found[1], len(images))
        level, brick, size = int(found[2]), int(found[3]), int(found[4])
        proven = int(found[5] == "true")
        last = runs[-1] if runs else None
        if last and last[:2] == [image, level]:
            if brick == last[2] + last[3] - 1:
                continue
            if brick == last[2] + last[3]:
                last[3] += 1
                continue
        runs.append([image, level, brick, 1, size, proven])
    text = "".join(" ".join(map(str, run)) + "\n" for run in runs)
    (Path(__file__).parent / "mixed.txt").write_text(text)
    print(len(runs), "runs,", sum(run[3] for run in runs), "lookups,", len(images), "images")


main()
