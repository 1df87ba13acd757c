# /// script
# requires-python = ">=3.11"
# dependencies = ["h5py==3.16.0", "numpy>=2,<3"]
# ///
"""Compares the `.ims` files of a mount with what the libraries read that wrote the stores.

The last line is "N passed, N failed, N skipped", counted in images; the status is 0 if nothing failed."""

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np

FEWEST_WRITERS = 10
"""So many writers at least must have run, so that a machine on which none installs does not pass."""

FEWEST_STORES = 140
"""So many stores at least must have been written: interfaces change, but not all at once."""

TOLERANCE = 1e-5
"""Relative, of lengths: extents are text of limited length."""

Facts = dict[str, Any]


def stored(array: np.ndarray, axes: str) -> np.ndarray:
    """A level in the order t, c, z, y, x, in the type that the file must have (`doc/DESIGN.md`, voxel types)."""
    missing = [axis for axis in "tczyx" if axis not in axes]
    array = array.reshape([1] * len(missing) + list(array.shape))
    array = array.transpose([("".join(missing) + axes).index(axis) for axis in "tczyx"])
    kept = {"bool": "uint8", "uint8": "uint8", "uint16": "uint16"}
    return array.astype(kept.get(array.dtype.name, "float32"))


class Ims:
    """An open file, read by the rules of the format."""

    def __init__(self, file: h5py.File) -> None:
        self.file = file

    def text(self, group: str, attribute: str) -> str:
        return b"".join(self.file[group].attrs[attribute].tolist()).decode()

    def numbers(self, group: str, attribute: str) -> list[float]:
        return [float(word) for word in self.text(group, attribute).split()]

    def size(self, group: str, prefix: str = "ImageSize") -> tuple[int, int, int]:
        z, y, x = (int(self.text(group, prefix + axis)) for axis in "ZYX")
        return z, y, x

    def level(self, number: int) -> np.ndarray:
        """All voxels of a level, in the order t, c, z, y, x."""
        top = f"DataSet/ResolutionLevel {number}"
        times = []
        for t in range(len(self.file[top])):
            channels = []
            for c in range(len(self.file[f"{top}/TimePoint {t}"])):
                group = f"{top}/TimePoint {t}/Channel {c}"
                z, y, x = self.size(group)
                channels.append(self.file[group]["Data"][:z, :y, :x])
            times.append(channels)
        return np.array(times)

    def times(self) -> list[float]:
        """Time stamps in seconds."""
        count = int(self.text("DataSetInfo/TimeInfo", "FileTimePoints"))
        stamps = [self.text("DataSetInfo/TimeInfo", f"TimePoint{t + 1}") for t in range(count)]
        return [datetime.fromisoformat(stamp).timestamp() for stamp in stamps]


def differences(ims: Ims, facts: Facts, truth: Path) -> Iterator[str]:
    """A message for each difference."""
    wanted = [stored(np.load(truth / name), facts["axes"]) for name in facts["levels"]]
    faults = list(levels(ims, wanted))
    yield from faults
    if not faults:
        # The comparison itself must notice a voxel.
        wanted[0].flat[-1] += 1
        if not any(levels(ims, wanted)):
            yield "a changed voxel is not noticed"
    size = ims.size("DataSetInfo/Image", "")
    for index, axis in enumerate("xyz"):
        low, high = (float(ims.text("DataSetInfo/Image", f"{end}{index}")) for end in ("ExtMin", "ExtMax"))
        voxel, origin = ((facts[key] or {}).get(axis) for key in ("voxel", "origin"))
        got = (high - low) / size[2 - index]
        if voxel is not None and abs(got - voxel) > TOLERANCE * voxel:
            yield f"voxel size {axis} {got} um, expected {voxel}"
        if origin is not None and abs(low - origin) > TOLERANCE * max(abs(origin), got):
            yield f"origin {axis} {low} um, expected {origin}"
    step = facts["time_step"]
    times = ims.times()
    if step is not None and any(abs(b - a - step) > 2e-3 for a, b in zip(times, times[1:])):
        yield f"times {times[:3]} s, expected steps of {step}"
    yield from channels(ims, facts, wanted[0].shape[1])


def levels(ims: Ims, wanted: list[np.ndarray]) -> Iterator[str]:
    """Level 0 must be shown, and a level that has the size of a stored one must have its voxels.

    A stored half that was rounded up is shown without its last plane."""
    shown = len(ims.file["DataSet"])
    for number in range(shown):
        got = ims.level(number)
        fits = [want for want in wanted if want.shape == got.shape] or [
            want
            for want in wanted[1:]
            if want.shape[:2] == got.shape[:2] and all(0 <= w - g <= 1 for w, g in zip(want.shape[2:], got.shape[2:]))
        ]
        if number == 0:
            fits = wanted[:1]
            if got.shape != wanted[0].shape:
                yield f"size (t, c, z, y, x) {got.shape}, expected {wanted[0].shape}"
                return
        if not fits:
            continue
        want = fits[0][tuple(slice(length) for length in got.shape)]
        if got.dtype != want.dtype:
            yield f"level {number}: type {got.dtype}, expected {want.dtype}"
        elif not np.array_equal(got, want, equal_nan=got.dtype.kind == "f"):
            at = tuple(int(index) for index in np.argwhere(got != want)[0])
            count = int((got != want).sum())
            yield f"level {number}: {count} voxels differ, the first at {at}: {got[at]}, expected {want[at]}"
    expected = 1
    above = wanted[0].shape[2:]
    for want in wanted[1:]:
        size = want.shape[2:]
        if not all(s in (a, max(a // 2, 1)) for s, a in zip(size, above)) or min(size[1:]) < 2:
            break
        above, expected = size, expected + 1
    if shown < expected:
        yield f"{shown} levels, the store has {expected} in steps of two"


def channels(ims: Ims, facts: Facts, count: int) -> Iterator[str]:
    for c in range(count):
        group = f"DataSetInfo/Channel {c}"
        for key, attribute in (("channels", "Name"), ("colours", "Color"), ("windows", "ColorRange")):
            wanted = facts[key]
            if not wanted or c >= len(wanted) or wanted[c] is None:
                continue
            if key == "channels":
                got = ims.text(group, attribute)
                same = got == str(wanted[c])
            else:
                got = ims.numbers(group, attribute)
                values = (
                    wanted[c] if key == "windows" else [int(wanted[c][i : i + 2], 16) / 255 for i in (0, 2, 4)]
                )
                same = len(got) == len(values) and np.allclose(got, values, rtol=1e-3, atol=2e-3)
            if not same:
                yield f"channel {c}: {attribute} {got!r}, expected {wanted[c]!r}"


class Results:
    """Counts, and prints what is not simply right."""

    def __init__(self) -> None:
        self.passed = self.failed = self.skipped = 0

    def result(self, what: str, faults: list[str]) -> None:
        if not faults:
            self.passed += 1
            return
        self.failed += 1
        print(f"FAIL {what}: {'; '.join(faults)}", flush=True)

    def skip(self, what: str, reason: str) -> None:
        self.skipped += 1
        print(f"SKIPPED {what}: {reason}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--truth", type=Path, required=True, help="folders of `truth.json`, one for each writer")
    parser.add_argument("--mount", type=Path, required=True)
    parser.add_argument("--list", type=Path, required=True, help="what `zarrims-mount --list --json` printed")
    parser.add_argument("--some", action="store_true", help="some writers only: their number is not checked")
    options = parser.parse_args()
    rows = [json.loads(line) for line in options.list.read_text().splitlines()]
    files = {(row["store"], row["image"]): row["file"] for row in rows if "file" in row and not row["multiscale"]}
    refused = {row["skipped"]: row["reason"] for row in rows if "skipped" in row}
    results = Results()
    writers = stores = 0
    for folder in sorted(path for path in options.truth.iterdir() if path.is_dir()):
        if not (folder / "truth.json").exists():
            results.skip(folder.name, (folder / "reason").read_text().strip())
            continue
        truth = json.loads((folder / "truth.json").read_text())
        name = f"{truth['writer']} {truth['versions'][truth['writer']]}"
        versions = ", ".join(f"{package} {version}" for package, version in truth["versions"].items())
        done = 0
        for store in truth["stores"]:
            if "error" in store:
                results.skip(f"{name}: {store['store']}", f"not written: {store['error']}")
                continue
            done += 1
            for image in store["images"]:
                what = f"{name}: {store['store']}" + (f", image {image['group']}" if image["group"] else "")
                at = f"{folder.name}/{store['store']}"
                file = files.get((at, image["group"]))
                if file is None:
                    within = [reason for path, reason in refused.items() if f"{path}/".startswith(f"{at}/")]
                    results.result(what, [f"not shown: {'; '.join(within) or 'without a reason'}"])
                    continue
                try:
                    with h5py.File(options.mount / file) as opened:
                        faults = list(differences(Ims(opened), image, folder))
                except (OSError, KeyError, ValueError) as error:
                    faults = [f"{type(error).__name__}: {error}"]
                results.result(what, faults)
        print(f"{versions}: {done} of {len(truth['stores'])} stores")
        writers, stores = writers + (done > 0), stores + done
    if not options.some and (writers < FEWEST_WRITERS or stores < FEWEST_STORES):
        results.result("writers", [f"only {writers} have written {stores} stores"])
    print(f"{writers} writers, {stores} stores")
    print(f"{results.passed} passed, {results.failed} failed, {results.skipped} skipped")
    return 1 if results.failed else 0


if __name__ == "__main__":
    sys.exit(main())
