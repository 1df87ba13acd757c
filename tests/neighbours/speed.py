"""Throughput through smbd: the mount beside a plain folder of the same share with the same bytes, in turn.

Not one of the checks: `make bench-shares`, or `tests/neighbours/run.sh BINARY speed`, with a store of `make bench`
(ZARRIMS_BENCH_DIR, or target/bench-stores) or any other (ZARRIMS_SPEED_STORE). `warm` is a read of what the kernel has
in its page cache; `cached` one of a file whose pages were dropped, while the daemon's cache has all of it; `cold` one
with an empty cache of the daemon, and with the store dropped from the page cache. Each is compared with the plain file
in the same round: in the page cache, and for `cold` dropped from it, too."""

import os
import re
import shutil
import statistics
from pathlib import Path

from .rig import Skip
from .samba import smbclient, smbd

ROUNDS = 5
BENCH_STORE = "256 MiB/blosc-64/image.ome.zarr"
PROMISED = {"warm": 0.9, "cached": 0.6, "cold": 0.5}


def store():
    given = os.environ.get("ZARRIMS_SPEED_STORE")
    built = Path(__file__).parents[2] / "target/bench-stores"
    path = Path(given or Path(os.environ.get("ZARRIMS_BENCH_DIR", built)) / BENCH_STORE)
    if not path.is_dir():
        raise Skip(f"no store {path}: make bench BENCH='--quick --store blosc-64' makes it")
    return path


def rate(port, path):
    """MiB/s that smbclient tells for a file."""
    got = smbclient(port, f'get "{path}" /dev/null')
    found = re.search(r"\(([0-9.]+) KiloBytes/sec\)", got.stdout + got.stderr)
    assert got.returncode == 0 and found, got.stdout + got.stderr
    return float(found.group(1)) / 1024


def drop(path):
    """Drops the pages of a file, or of all files in a folder, which nobody has changed just now."""
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def read_in_turn(daemon, port):
    """One round: the rates of the mount and of the plain file, for each case."""
    virtual, plain = daemon.mount / "image.ims", daemon.share / "plain/image.ims"

    def rates():
        return rate(port, "stores/image.ims"), rate(port, "plain/image.ims")

    daemon.program.stop()
    shutil.rmtree(daemon.work / "cache")
    daemon.start()
    virtual.stat()
    drop(daemon.source)
    drop(plain)
    found = {"cold": rates()}
    drop(virtual)
    found["cached"] = rates()
    found["warm"] = rates()
    return found


def spread(values, digits):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def run(results, daemon):
    with results.check("throughput through smbd is measured"):
        shutil.copytree(store(), daemon.source / "image.ome.zarr")
        plain = daemon.share / "plain"
        plain.mkdir()
        shutil.copyfile(daemon.mount / "image.ims", plain / "image.ims")
        with smbd(daemon.work, daemon.share) as port:
            rounds = [read_in_turn(daemon, port) for _ in range(ROUNDS)]
        print("| | mount, MiB/s | plain folder, MiB/s | of the plain folder |\n|---|---|---|---|")
        for case, least in PROMISED.items():
            mount, folder = zip(*(found[case] for found in rounds))
            ratio = statistics.median(mount) / statistics.median(folder)
            each = [one / other for one, other in zip(mount, folder)]
            word = "≥" if ratio >= least else "**below**"
            print(
                f"| {case} | {spread(mount, 0)} | {spread(folder, 0)} | "
                f"{ratio:.2f} ({min(each):.2f} to {max(each):.2f}); {word} {least} |", flush=True,
            )
