"""Mounts of the same stores, compared with one another."""

import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np

from .series import SMALL

THREADS = 4

LONGEST = 1 << 20
"""Bytes of a piece. Most are much shorter."""


def differing_pieces(once: Path, other: Path, seed: int) -> Iterator[str]:
    """Reads one file from end to end, and the other, of another mount, in pieces: each byte once, the pieces in random
    order, by several threads. A message for each piece that differs."""
    random_numbers = random.Random(seed)
    whole = once.read_bytes()
    if other.stat().st_size != len(whole):
        yield f"{other.stat().st_size} bytes, and {len(whole)} in the other mount"
        return
    pieces, at = [], 0
    while at < len(whole):
        end = min(at + int(LONGEST ** random_numbers.random()), len(whole))
        # Short ones only where most metadata are.
        end = end if at < len(whole) // 4 else min(at + LONGEST, len(whole))
        pieces.append((at, end))
        at = end
    random_numbers.shuffle(pieces)
    # Past the kernel's pages, so that the mount is asked for just these bytes.
    file = os.open(other, os.O_RDONLY | os.O_DIRECT)
    try:
        with ThreadPoolExecutor(THREADS) as threads:
            read = threads.map(lambda piece: os.pread(file, piece[1] - piece[0], piece[0]), pieces)
            for (start, end), got in zip(pieces, read):
                if got != whole[start:end]:
                    yield f"bytes {start} to {end} differ"
    finally:
        os.close(file)


def other_than_histograms(fast: Path, exact: Path) -> Iterator[str]:
    """A message for each object and attribute that differs and is no histogram and not the range of one; and one if
    no histogram of a large image differs."""
    differing = 0
    with h5py.File(fast, "r") as one, h5py.File(exact, "r") as other:
        names: tuple[list[str], list[str]] = ["/"], ["/"]
        one.visit(names[0].append)
        other.visit(names[1].append)
        if names[0] != names[1]:
            yield f"other objects: {sorted(set(names[0]) ^ set(names[1]))[:3]}"
            return
        for name in names[0]:
            nodes = one[name], other[name]
            keys = sorted(nodes[0].attrs)
            if keys != sorted(nodes[1].attrs):
                yield f"other attributes of {name}"
                continue
            values = [(f"{name}@{key}", *(node.attrs[key] for node in nodes)) for key in keys]
            if isinstance(nodes[0], h5py.Dataset):
                values.append((name, nodes[0][...], nodes[1][...]))
            for what, a, b in values:
                if not (a.dtype == b.dtype and np.array_equal(a, b)):
                    differing += 1
                    if not what.replace("@", "/").rpartition("/")[2].startswith("Histogram"):
                        yield f"{what} differs"
        first = one["DataSet/ResolutionLevel 0"]
        voxels = len(first) * len(first["TimePoint 0"]) * first["TimePoint 0/Channel 0/Data"].size
    if not differing and voxels > SMALL:
        yield "the histograms are the same: nothing was compared"
