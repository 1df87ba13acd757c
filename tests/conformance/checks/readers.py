"""The readers, one function or class each.

What a reader cannot tell is None: nothing is made up for it."""

import json
import re
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import h5py
import hdf5plugin  # noqa: F401  # lets libhdf5 read chunks with LZ4
import imaris_ims_file_reader
import imaris_ims_zarr
import numpy as np
import pyfive

from .image import Image, Level, Size, Voxel, digest, voxels_of_level

Reader = Callable[[Path], Image]


class Tree(Protocol):
    """An open HDF5 file, with only as much of an interface as three of the readers share."""

    def children(self, group: str) -> list[str]:
        """Names in a group."""

    def text(self, group: str, attribute: str) -> str:
        """An attribute that is text."""

    def data(self, dataset: str) -> np.ndarray | None:
        """A whole dataset. None: this one is not read."""


def read_tree(tree: Tree) -> Image:
    """Puts together an image by the rules of the format."""
    first = "DataSet/ResolutionLevel 0"
    times = len(tree.children(first))
    channels = len(tree.children(f"{first}/TimePoint 0"))
    finest = _size(tree, "DataSetInfo/Image", "")
    extent = [
        float(tree.text("DataSetInfo/Image", f"ExtMax{axis}"))
        - float(tree.text("DataSetInfo/Image", f"ExtMin{axis}"))
        for axis in (2, 1, 0)
    ]
    voxel: Voxel = (extent[0] / finest[0], extent[1] / finest[1], extent[2] / finest[2])
    levels = []
    for r in range(len(tree.children("DataSet"))):
        group = f"DataSet/ResolutionLevel {r}"
        size = _size(tree, f"{group}/TimePoint 0/Channel 0", "ImageSize")
        hashes: list[list[str | None]] = []
        for t in range(times):
            hashes.append([])
            for c in range(channels):
                channel = f"{group}/TimePoint {t}/Channel {c}"
                if _size(tree, channel, "ImageSize") != size:
                    raise ValueError(f"{channel} differs in size")
                data = tree.data(f"{channel}/Data")
                is_read = data is not None
                hashes[t].append(digest(data[tuple(map(slice, size))]) if is_read else None)
        assert data is not None  # the last one is always read
        levels.append(Level(size, data.dtype.name, voxels_of_level(voxel, finest, size), hashes))
    names = [tree.text(f"DataSetInfo/Channel {c}", "Name") for c in range(channels)]
    return Image(times, channels, names, levels)


def _size(tree: Tree, group: str, prefix: str) -> Size:
    z, y, x = (int(tree.text(group, prefix + axis)) for axis in "ZYX")
    return z, y, x


class _Python:
    """h5py and pyfive have the same interface."""

    def __init__(self, file: Any) -> None:
        self.groups = {"": file}

    def group(self, path: str) -> Any:
        """Opens each group once: for each part of a path, pyfive reads all names there."""
        if path not in self.groups:
            parent, _, name = path.rpartition("/")
            self.groups[path] = self.group(parent)[name]
        return self.groups[path]

    def children(self, group: str) -> list[str]:
        return list(self.group(group))

    def text(self, group: str, attribute: str) -> str:
        return b"".join(self.group(group).attrs[attribute].tolist()).decode()

    def data(self, dataset: str) -> np.ndarray:
        group, _, name = dataset.rpartition("/")
        return self.group(group)[name][...]


def read_h5py(path: Path) -> Image:
    """libhdf5."""
    with h5py.File(path, "r") as file:
        return read_tree(_Python(file))


def read_pyfive(path: Path) -> Image:
    """pyfive, a reader that does not use libhdf5."""
    with pyfive.File(path) as file:
        return read_tree(_Python(file))


class H5dump:
    """The text that `h5dump -A` prints, and the bytes that `h5dump -b` writes."""

    FEW = 1000
    """Of more volumes than so many, only those of the last time point are read: for each, another h5dump walks
    through the whole file."""

    TYPES = {"H5T_STD_U8LE": "u1", "H5T_STD_U16LE": "<u2", "H5T_IEEE_F32LE": "<f4"}

    def __init__(self, path: Path, scratch: Path) -> None:
        self.path = path
        self.scratch = scratch
        self.groups: defaultdict[str, list[str]] = defaultdict(list)
        self.attributes: dict[str, bytes] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.types: dict[str, str] = {}
        self._run("-H")
        self._parse(self._run("-A"))
        self.volumes = sum(
            path.startswith("DataSet/") and path.endswith("/Data") for path in self.types
        )
        self.last = len(self.children("DataSet/ResolutionLevel 0")) - 1

    def _run(self, *options: str) -> str:
        done = subprocess.run(["h5dump", *options, self.path], capture_output=True, check=False)
        if done.returncode != 0:
            raise OSError(
                f"h5dump {options[0]}: status {done.returncode}: {done.stderr.decode()[-300:]}"
            )
        return done.stdout.decode()

    def _parse(self, text: str) -> None:
        stack: list[tuple[str, str]] = []
        for line in map(str.strip, text.splitlines()):
            kind, path = stack[-1] if stack else ("", "")
            if opened := re.fullmatch(r'(GROUP|DATASET|ATTRIBUTE) "(.*)" \{', line):
                parent = next((p for k, p in reversed(stack) if k == "GROUP"), "")
                if opened[1] == "ATTRIBUTE":
                    parent = path + "@"
                elif parent:
                    parent += "/"
                path = parent + opened[2].removeprefix("/")
                stack.append((opened[1], path))
                if opened[1] == "GROUP":
                    self.groups[path.rpartition("/")[0]].append(path)
                if opened[1] == "ATTRIBUTE":
                    self.attributes[path] = b""
            elif line.endswith("{"):
                stack.append((line, path))
            elif line == "}":
                stack.pop()
            elif kind == "DATA {":
                tokens = re.findall(r'"((?:[^"\\]|\\.)*)"', line)
                self.attributes[path] += b"".join(map(_unescape, tokens))
            elif kind == "DATASET" and line.startswith("DATATYPE"):
                self.types[path] = line.split()[1]
            elif kind == "DATASET" and (
                space := re.match(r"DATASPACE +SIMPLE \{ \(([\d, ]+)\)", line)
            ):
                self.shapes[path] = tuple(map(int, space[1].split(",")))

    def children(self, group: str) -> list[str]:
        return self.groups[group]

    def text(self, group: str, attribute: str) -> str:
        return self.attributes[f"{group}@{attribute}"].decode()

    def data(self, dataset: str) -> np.ndarray | None:
        if self.volumes > self.FEW and f"/TimePoint {self.last}/" not in dataset:
            return None
        self._run("-d", f"/{dataset}", "-b", "LE", "-o", str(self.scratch))
        dtype = np.dtype(self.TYPES[self.types[dataset]])
        return np.fromfile(self.scratch, dtype).reshape(self.shapes[dataset])


def _unescape(token: str) -> bytes:
    """A string as h5dump prints it; bytes from 128 on are octal numbers, their sign extended."""
    if re.fullmatch(r"\\[0-7]{3,}", token):
        return bytes([int(token[1:], 8) & 0xFF])
    return re.sub(r"\\(.)", r"\1", token).encode()


def read_h5dump(path: Path) -> Image:
    """h5dump of the HDF5 tools."""
    with tempfile.NamedTemporaryFile() as scratch:
        return read_tree(H5dump(path, Path(scratch.name)))


_AS_STORED: dict[str, Any] = {"squeeze_output": False, "resolution_decimal_places": None}


def _read_ims(file: Any, voxels_of_all_levels: bool) -> Image:
    """Two packages of one origin have the same interface."""
    levels = []
    for r in range(file.ResolutionLevels):
        hashes = [
            [digest(file[r, t, c, :, :, :][0, 0]) for c in range(file.Channels)]
            for t in range(file.TimePoints)
        ]
        metadata = {key: file.metaData[r, 0, 0, key] for key in ("shape", "dtype", "resolution")}
        voxel = metadata["resolution"] if r == 0 or voxels_of_all_levels else None
        levels.append(Level(metadata["shape"][2:], metadata["dtype"].name, voxel, hashes))
    if file.shape != (file.TimePoints, file.Channels, *levels[0].size):
        raise ValueError(f"the shape {file.shape} of the file is not that of its level 0")
    try:
        names = [
            file.read_attribute(f"DataSetInfo/Channel {c}", "Name") for c in range(file.Channels)
        ]
    except UnicodeDecodeError:
        names = None
    return Image(file.TimePoints, file.Channels, names, levels)


def read_imaris_ims_file_reader(path: Path) -> Image:
    """imaris_ims_file_reader."""
    return _read_ims(imaris_ims_file_reader.ims(str(path), **_AS_STORED), voxels_of_all_levels=True)


def read_imaris_ims_zarr(path: Path) -> Image:
    """imaris_ims_zarr."""
    return _read_ims(imaris_ims_zarr.ims(str(path), **_AS_STORED), voxels_of_all_levels=False)


class BioFormats:
    """Bio-Formats, in one Java process for all files."""

    def __init__(self, class_path: str) -> None:
        self.process = subprocess.Popen(
            ["java", "-Xmx1g", "-cp", class_path, "BioFormats"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def __enter__(self) -> "BioFormats":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()

    def __call__(self, path: Path) -> Image:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{path}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise OSError(f"Java has ended with status {self.process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise OSError(answer["error"])
        rows = answer["levels"]
        times, channels = rows[0]["shape"][:2]
        levels = []
        for row in rows:
            if row["shape"][:2] != [times, channels]:
                raise ValueError(
                    f"a level with T, C {row['shape'][:2]}, level 0 has {[times, channels]}"
                )
            dtype = {"float": "float32"}.get(row["type"], row["type"])
            voxel = tuple(row["voxel"]) if None not in row.get("voxel", [None]) else None
            levels.append(Level(tuple(row["shape"][2:]), dtype, voxel, row["hashes"]))
        return Image(times, channels, answer["names"], levels)
