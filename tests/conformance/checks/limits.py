"""Images as long as the format allows, and longer ones.

Run as a program, writes their stores below a folder. All their chunks are absent."""

import sys
from pathlib import Path

import h5py
import zarr

SHOWN = {"t65532": (65_532, 1, 1), "c100000": (1, 100_000, 1), "t25000": (25_000, 4, 2)}
"""Time points, channels and levels of what is shown."""

REFUSED = {
    "t65533": (65_533, 1, 1, "time points is 65533, above the limit of 65532"),
    "c100001": (1, 100_001, 1, "channels is 100001, above the limit of 100000"),
    "d100100000": (50_000, 1001, 2, "datasets (time points x channels x levels) is 100100000, above"),
}
"""The same of what is not, and a part of the reason."""

SIDE = 64
"""Of the volumes, in voxels."""


def faults(mount: Path, refused: dict[str, str]) -> dict[str, list[str]]:
    """Messages by image. `refused`: reasons by store."""
    found = {name: _shown(mount / f"{name}.ims", *counts) for name, counts in SHOWN.items()}
    for name, (*_, reason) in REFUSED.items():
        told = refused.get(f"limits/{name}.zarr", "nothing")
        found[name] = [] if reason in told else [f"the list tells {told}"]
    return found


def _shown(path: Path, times: int, channels: int, levels: int) -> list[str]:
    """Reads the last time point and channel of the coarsest level."""
    try:
        with h5py.File(path, "r") as file:
            level = file[f"DataSet/ResolutionLevel {levels - 1}"]
            volume = level[f"TimePoint {times - 1}/Channel {channels - 1}"]
            stamps = file["DataSetInfo/TimeInfo"].attrs
            name = file[f"DataSetInfo/Channel {channels - 1}"].attrs["Name"]
            seen = (len(level), len(level[f"TimePoint {times - 1}"]), len(file["DataSet"]))
            side = SIDE >> levels - 1
            checks = {
                f"counts {seen}": seen == (times, channels, levels),
                "voxels": volume["Data"].shape == (side,) * 3 and not volume["Data"][...].any(),
                "bins": volume["Histogram"][...].sum() == side**3,
                "stamps": len(stamps) == times + 2 and f"TimePoint{times}" in stamps,
                f"name {name}": name.size > 0,
            }
    except (OSError, KeyError) as error:
        return [f"{type(error).__name__}: {error}"]
    return [f"not as it should be: {what}" for what, is_right in checks.items() if not is_right]


def write(store: Path, times: int, channels: int, levels: int) -> None:
    """Declares an image."""
    axes = [{"name": a, "type": "space"} for a in "zyx"]
    axes = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}, *axes]
    datasets = [
        {
            "path": str(r),
            "coordinateTransformations": [{"type": "scale", "scale": [1.0] * 2 + [2.0**r] * 3}],
        }
        for r in range(levels)
    ]
    multiscales = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    group = zarr.create_group(store, zarr_format=2, attributes={"multiscales": multiscales})
    for r in range(levels):
        shape = (times, channels, *[SIDE >> r] * 3)
        group.create_array(str(r), shape=shape, chunks=(1, 1, *shape[2:]), dtype="uint8")


if __name__ == "__main__":
    for each, counts in SHOWN.items():
        write(Path(sys.argv[1], f"{each}.zarr"), *counts)
    for each, (*counts, _) in REFUSED.items():
        write(Path(sys.argv[1], f"{each}.zarr"), *counts)
