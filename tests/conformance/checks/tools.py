"""The HDF5 tools on whole files, and every object once more without libhdf5."""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyfive

from .image import digest

MANY = 1000
"""Objects that pyfive reads. Of files with more, it reads those of the last time point only, and those of none: for
each object it takes milliseconds."""


def faults(path: Path) -> Iterator[str]:
    """A message for each tool that does not see what libhdf5 sees in this version."""
    with h5py.File(path, "r") as file:
        objects = {"/": file}
        file.visititems(lambda name, node: objects.update({f"/{name}": node}))
        datasets = {name for name, node in objects.items() if isinstance(node, h5py.Dataset)}
        attributes = sum(len(node.attrs) for node in objects.values())
        counts = {
            "GROUP": len(objects) - len(datasets), "DATASET": len(datasets), "ATTRIBUTE": attributes
        }  # fmt: skip
        yield from _dumped(path, counts)
        yield from _measured(path, counts)
        yield from _listed(path, set(objects))
        yield from _repacked(path, set(objects))
        last = len(file["DataSet/ResolutionLevel 0"]) - 1
        is_read = f"/TimePoint {last}/"
        few = {
            name: node
            for name, node in objects.items()
            if len(objects) <= MANY or "/TimePoint " not in name or is_read in f"{name}/"
        }
        yield from _read_again(path, few)


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0 or done.stderr:
        end = (done.stdout + done.stderr).decode()[-300:]
        raise OSError(f"{command[0]}: status {done.returncode}: {end}")
    return done.stdout.decode()


def _dumped(path: Path, counts: dict[str, int]) -> Iterator[str]:
    found = re.findall(r'^ *(GROUP|DATASET|ATTRIBUTE) "', _run("h5dump", "-H", path), re.MULTILINE)
    for kind, wanted in counts.items():
        if (number := found.count(kind)) != wanted:
            yield f"h5dump -H prints {number} times {kind}, expected {wanted}"


def _measured(path: Path, counts: dict[str, int]) -> Iterator[str]:
    printed = _run("h5stat", path)
    for kind, name in (("GROUP", "groups"), ("DATASET", "datasets")):
        number = re.search(rf"# of unique {name}: (\d+)", printed)
        if not number or int(number[1]) != counts[kind]:
            yield f"h5stat counts {number and number[1]} {name}, expected {counts[kind]}"


def _listed(path: Path, objects: set[str]) -> Iterator[str]:
    lines = _run("h5ls", "-r", path).splitlines()
    # A blank within a name is printed with a backslash.
    names = {re.split(r"(?<!\\) ", line)[0].replace("\\ ", " ") for line in lines}
    if names != objects:
        yield f"h5ls -r lists others: {sorted(names ^ objects)[:3]}"


def _repacked(path: Path, objects: set[str]) -> Iterator[str]:
    with tempfile.NamedTemporaryFile(suffix=".h5") as copy:
        _run("h5repack", path, copy.name)
        with h5py.File(copy.name, "r") as file:
            names = {"/"}
            file.visit(lambda name: names.add(f"/{name}"))
        if names != objects:
            yield f"h5repack copies others: {sorted(names ^ objects)[:3]}"
        # Objects, attributes and data; prints what differs.
        if printed := _run("h5diff", path, copy.name):
            yield f"h5diff of the file and its copy by h5repack: {printed[:300]}"


def _read_again(path: Path, objects: dict[str, Any]) -> Iterator[str]:
    with pyfive.File(path) as file:
        groups: dict[str, Any] = {"": file, "/": file}
        for name, node in objects.items():
            parent, _, own = name.rpartition("/")
            if name not in groups:
                groups[name] = groups[parent][own]
            twin = groups[name]
            if isinstance(node, h5py.Group) and set(twin) != set(node):
                yield f"pyfive: other members of {name}"
            if isinstance(node, h5py.Dataset) and _content(twin) != _content(node):
                yield f"pyfive: another {name}"
            if set(twin.attrs) != set(node.attrs):
                yield f"pyfive: other attributes of {name}"
            for key, value in node.attrs.items():
                if not np.array_equal(twin.attrs[key], value):
                    yield f"pyfive: another {name}@{key}"


def _content(dataset: Any) -> tuple[Any, ...]:
    return dataset.shape, dataset.dtype, digest(dataset[...])
