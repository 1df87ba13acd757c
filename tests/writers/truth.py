"""What a writer stored, as its own library reads it back. Imported by the scripts of all writers.

A script `by_NAME.py` has a function for each store, decorated with `Writer.store`. The function writes the store at
the path that it is given, reads it with the library, and returns the images that it found there. `Writer.run` calls
all functions and keeps the answers as `truth.json` and `.npy` files, for a reader in another environment."""

import dataclasses
import json
import shutil
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

UM = {"angstrom": 1e-4, "nanometer": 1e-3, "micrometer": 1.0, "millimeter": 1e3, "meter": 1e6}
"""Micrometres of a unit."""

SECONDS = {"millisecond": 1e-3, "second": 1.0, "minute": 60.0, "hour": 3600.0}
"""Seconds of a unit."""


@dataclasses.dataclass
class Image:
    """An image of a store. What is None, or absent in a mapping, is not compared."""

    axes: str
    """One letter for each dimension of the levels, out of t, c, z, y and x, in stored order."""
    levels: Sequence[Any]
    """Arrays as the library reads them, finest first."""
    group: str = ""
    """Path of the image's group, or of its array, inside the store."""
    voxel: dict[str, float] | None = None
    """Micrometres by axis (z, y, x) at level 0."""
    origin: dict[str, float] | None = None
    """Micrometres by axis, of the outer border of the first voxel."""
    time_step: float | None = None
    """Seconds."""
    channels: Sequence[str] | None = None
    """Names."""
    colours: Sequence[str] | None = None
    """RRGGBB, by channel."""
    windows: Sequence[tuple[float, float]] | None = None
    """Displayed range, by channel."""
    label: bool = False
    """Shown on request only."""


Made = Callable[[Path], Iterable[Image]]


class Writer:
    """A library that writes stores, and the packages whose versions tell what was tried."""

    def __init__(self, name: str, *packages: str) -> None:
        self.name = name
        self.packages = (name, *packages)
        self.stores: dict[str, Made] = {}

    def store(self, name: str) -> Callable[[Made], Made]:
        """Names the file or folder that the function writes. `run` calls the function."""

        def add(function: Made) -> Made:
            if name in self.stores:
                raise ValueError(f"{name} is written twice")
            self.stores[name] = function
            return function

        return add

    def run(self) -> None:
        """Writes all stores below the folder of the first argument, and the truth below the second.

        A function that fails is a store with an `error`: releases change their interfaces."""
        stores, truth = map(Path, sys.argv[1:3])
        only = sys.argv[3] if len(sys.argv) > 3 else ""
        rows: list[dict[str, Any]] = []
        for name, function in self.stores.items():
            if only not in name:
                continue
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    images = list(function(stores / name))
                if not images and not (stores / name).exists():
                    raise FileNotFoundError(f"{name} was not written")
                rows.append({"store": name, "images": [_kept(image, truth, name) for image in images]})
            except Exception as error:  # whatever a library may raise
                traceback.print_exc()
                _removed(stores / name)
                rows.append({"store": name, "error": f"{type(error).__name__}: {error}"})
        versions = {package: _version(package) for package in self.packages}
        (truth / "truth.json").write_text(json.dumps({"writer": self.name, "versions": versions, "stores": rows}))


def _removed(store: Path) -> None:
    """Half a store says nothing of the program that shows it."""
    if store.is_dir():
        shutil.rmtree(store)
    else:
        store.unlink(missing_ok=True)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "?"


def _kept(image: Image, truth: Path, store: str) -> dict[str, Any]:
    """The facts of an image as JSON, its levels in files of their own."""
    facts = {field.name: getattr(image, field.name) for field in dataclasses.fields(image)}
    facts["levels"] = []
    for level in image.levels:
        array = np.asarray(level)
        if array.ndim != len(image.axes):
            raise ValueError(f"{array.ndim} dimensions for the axes {image.axes}")
        file = truth / f"{len(list(truth.glob('*.npy')))}.npy"
        np.save(file, array)
        facts["levels"].append(file.name)
    return json.loads(json.dumps(facts, default=float))


def pattern(shape: Sequence[int], dtype: Any = "uint16", seed: int = 0) -> np.ndarray:
    """Values that differ with every position, as whole numbers below 2^24, which float32 holds exactly."""
    dtype = np.dtype(dtype)
    value = np.full((1,) * len(shape), 101 * seed, dtype=np.int64)
    for axis, length in enumerate(shape):
        index = np.arange(length).reshape([-1 if axis == a else 1 for a in range(len(shape))])
        value = value + index * (7, 31, 257, 7919, 104729, 15485863)[len(shape) - 1 - axis] + 13 * (index // 3)
    if dtype.kind == "b":
        return value // 5 % 3 == 0
    if dtype.kind == "f":
        return ((value % 1999 - 999) / 8).astype(dtype)
    period = min(2 ** (8 * dtype.itemsize) - 5, 16777213)
    value = value % period
    return (value - period // 2 if dtype.kind == "i" else value).astype(dtype)


def micrometres(axes: str, numbers: Sequence[float], units: Sequence[str | None]) -> dict[str, float]:
    """Lengths by space axis."""
    return {
        axis: number * UM[unit or "micrometer"] for axis, number, unit in zip(axes, numbers, units) if axis in "zyx"
    }
