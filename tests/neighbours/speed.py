"""Throughput through smbd, and through NFS-Ganesha: the mount beside a plain folder with the same bytes, in turn.

Not one of the checks: `make bench-shares`, or `tests/neighbours/run.sh BINARY speed`, with a store of `make bench`
(ZARRIMS_BENCH_DIR, or target/bench-stores) or any other (ZARRIMS_SPEED_STORE). `warm` is a read of what the kernel has
in its page cache; `cached` one of a file whose pages were dropped, while the daemon's cache has all of it; `cold` one
with an empty cache of the daemon, and with the store dropped from the page cache. Each is compared with the plain file
in the same round: in the page cache, and for `cold` dropped from it, too.

All programs run ahead of those of the machine that have no part in it (`SCHED_RR`)."""

import contextlib
import os
import re
import shutil
import statistics
import subprocess
import time
from pathlib import Path

from . import ganesha
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


def by_smb(port, folder):
    """MiB/s that smbclient tells for the file."""
    got = smbclient(port, f'get "{folder}/image.ims" /dev/null')
    found = re.search(r"\(([0-9.]+) KiloBytes/sec\)", got.stdout + got.stderr)
    assert got.returncode == 0 and found, got.stdout + got.stderr
    return float(found.group(1)) / 1024


def by_nfs(port, folder, size):
    """MiB/s of nfs-cat."""
    line = ganesha.command_line("nfs-cat", port, "image.ims", "ims" if folder == "stores" else folder)
    began = time.monotonic()
    # Without a timeout, with which the end is looked for now and then only.
    subprocess.run(line, stdout=subprocess.DEVNULL, check=True)
    return size / (1 << 20) / (time.monotonic() - began)


def drop(path):
    """Drops the pages of a file, or of all files in a folder, which nobody has changed just now."""
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def read_in_turn(daemon, serve, rate):
    """One round: the rates of the mount and of the plain file, for each case."""
    virtual, plain = daemon.mount / "image.ims", daemon.share / "plain/image.ims"

    daemon.program.stop()
    shutil.rmtree(daemon.work / "cache")
    daemon.start()
    virtual.stat()
    drop(daemon.source)
    drop(plain)
    with serve() as port:

        def rates():
            return rate(port, "stores"), rate(port, "plain")

        found = {"cold": rates()}
        drop(virtual)
        return found | {"cached": rates(), "warm": rates()}


def spread(values, digits):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def measure(name, daemon, serve, rate):
    rounds = [read_in_turn(daemon, serve, rate) for _ in range(ROUNDS)]
    for case, least in PROMISED.items():
        mount, folder = zip(*(found[case] for found in rounds))
        ratio = statistics.median(mount) / statistics.median(folder)
        each = [one / other for one, other in zip(mount, folder)]
        word = "≥" if ratio >= least else "**below**"
        print(
            f"| {name} | {case} | {spread(mount, 0)} | {spread(folder, 0)} | "
            f"{ratio:.2f} ({min(each):.2f} to {max(each):.2f}); {word} {least} |", flush=True,
        )


def run(results, daemon):
    with results.check("throughput of shares is measured"):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        shutil.copytree(store(), daemon.source / "image.ome.zarr")
        plain = daemon.share / "plain"
        plain.mkdir()
        shutil.copyfile(daemon.mount / "image.ims", plain / "image.ims")
        size = (plain / "image.ims").stat().st_size
        print(f"\n{size >> 20} MiB\n")
        print("| share | case | mount, MiB/s | plain folder, MiB/s | of the plain folder |\n|---|---|---|---|---|")
        with smbd(daemon.work, daemon.share) as port:
            measure("smbd", daemon, lambda: contextlib.nullcontext(port), by_smb)
        measure(
            "NFS-Ganesha", daemon, lambda: ganesha.ganesha(daemon.work, daemon.mount, plain),
            lambda port, folder: by_nfs(port, folder, size),
        )
