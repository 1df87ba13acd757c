"""Throughput through smbd: the mount beside a plain folder with the same bytes, in turn, as ratios of medians.

Not one of the checks: `tests/neighbours/run.sh BINARY speed`, with a store of `make bench` (ZARRIMS_BENCH_DIR, or
target/bench-stores) or any other (ZARRIMS_SPEED_STORE)."""

import os
import re
import shutil
import statistics
from pathlib import Path

from .rig import Skip
from .samba import smbclient, smbd

ROUNDS = 5
BENCH_STORE = "256 MiB/blosc-64/image.ome.zarr"


def store():
    given = os.environ.get("ZARRIMS_SPEED_STORE")
    built = Path(__file__).parents[2] / "target/bench-stores"
    path = Path(given or Path(os.environ.get("ZARRIMS_BENCH_DIR", built)) / BENCH_STORE)
    if not path.is_dir():
        raise Skip(f"no store {path}: make bench BENCH='--quick --store blosc-64' makes it")
    return path


def rate(port, path):
    """KiB/s that smbclient tells for a file."""
    got = smbclient(port, f'get "{path}" /dev/null')
    found = re.search(r"\(([0-9.]+) KiloBytes/sec\)", got.stdout + got.stderr)
    assert got.returncode == 0 and found, got.stdout + got.stderr
    return float(found.group(1))


def run(results, daemon):
    with results.check("throughput through smbd is measured"):
        source = store()
        shutil.copytree(source, daemon.source / "image.ome.zarr")
        plain = daemon.share / "plain"
        plain.mkdir()
        shutil.copyfile(daemon.mount / "image.ims", plain / "image.ims")
        rates = {name: [] for name in ("plain", "cold", "cached", "warm")}
        with smbd(daemon.work, daemon.share) as port:
            rate(port, "plain/image.ims")
            for _ in range(ROUNDS):
                daemon.program.stop()
                shutil.rmtree(daemon.work / "cache")
                daemon.start()
                rates["cold"].append(rate(port, "stores/image.ims"))
                daemon.restart()
                rates["cached"].append(rate(port, "stores/image.ims"))
                rates["warm"].append(rate(port, "stores/image.ims"))
                rates["plain"].append(rate(port, "plain/image.ims"))
        base = statistics.median(rates["plain"])
        for name, each in rates.items():
            of = statistics.median(each)
            print(f"{name:7} {of / 1024:7.0f} MiB/s  {of / base:.2f} of plain", flush=True)
