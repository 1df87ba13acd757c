"""NFS-Ganesha exporting the mount by NFSv4, read with the programs of libnfs and with a client that keeps a handle
across restarts; none of them needs a kernel client."""

import hashlib
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from . import nfs4
from .rig import Program, answers, free_port, wanted, within
from .store import Changes, Seen, Store, value_of, write_noise


READS = 40


def export(number, name, path, kind):
    # What it knows of a folder counts for a minute, unless told otherwise.
    return f"""
EXPORT {{
    Export_Id = {number};
    Path = "{path}";
    Pseudo = "/{name}";
    Protocols = 4;
    Transports = TCP;
    SecType = sys;
    Access_Type = RO;
    Squash = no_root_squash;
    Filesystem_Id = {number}.{number};
    Attr_Expiration_Time = 1;
    FSAL {{ Name = VFS; {kind} }}
}}
"""


@contextmanager
def ganesha(work, mount, plain=None):
    """Serves a mount as `ims` and, beside it, a folder as `plain`."""
    program, port = wanted("ganesha.nfsd"), free_port()
    folder = work / "ganesha"
    folder.mkdir(exist_ok=True)
    # Handles are made of a number of the file system and of the inode. Without Major64 the former is the number of
    # the device, which is another one when the daemon comes back while somebody holds the old mount. Clients are told
    # the Filesystem_Id.
    exports = export(77, "ims", mount, "fsid_type = Major64;") + (export(78, "plain", plain, "") if plain else "")
    conf = folder / "ganesha.conf"
    conf.write_text(f"""
NFS_CORE_PARAM {{
    Protocols = 4;
    NFS_Port = {port};
    Bind_addr = 127.0.0.1;
    Enable_NLM = false;
    Enable_RQUOTA = false;
}}
NFSV4 {{
    Graceless = true;
    RecoveryBackend = fs;
    RecoveryRoot = "{folder}";
}}
{exports}""")
    server = Program(
        [program, "-F", "-f", conf, "-L", folder / "log", "-p", folder / "pid", "-N", "EVENT"],
        folder / "out",
    )
    try:
        within(30, "ganesha.nfsd", lambda: answers(port) or not server.is_running())
        assert server.is_running(), (folder / "log").read_text()[-1000:]
        yield port
    finally:
        server.stop()


def command_line(program, port, name, share="ims"):
    return [wanted(program), f"nfs://127.0.0.1/{share}/{name}?version=4&nfsport={port}&uid=0&gid=0"]


def client(program, port, name=""):
    line = command_line(program, port, name)
    done = subprocess.run(line, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, (done.stderr or done.stdout).decode(errors="replace")
    return done.stdout


def sum_of(data):
    return hashlib.sha256(data).digest()


def rewritten(results, daemon, port, store):
    with results.check("nfs-ls lists the mount"):
        listed = within(30, "a listing", lambda: client("nfs-ls", port)).decode()
        assert "nfs.ims" in listed, listed
    with results.check("nfs-ls soon lists a store that came"):
        Store(daemon.source / "came.zarr")
        within(30, "its name", lambda: b"came.ims" in client("nfs-ls", port))
    with results.check("nfs-cat reads all bytes"):
        data = client("nfs-cat", port, "nfs.ims")
        Seen(data)
        assert data == (daemon.mount / "nfs.ims").read_bytes(), f"{len(data)} other bytes"
    with results.check("nfs-cat reads every time while a chunk is rewritten"):
        with Changes(0.5, lambda number: store.chunk(0, value_of(number))) as changes:
            failures, mixes = [], []
            for _ in range(READS):
                try:
                    assert Seen(client("nfs-cat", port, "nfs.ims")).halves[0][1] == 7
                except AssertionError as error:
                    told = " ".join(str(error).split())
                    (failures if "nfs" in told.lower() else mixes).append(told)
                changes.ends.wait(0.05)
            assert changes.at(float("inf")) >= 2, "the store did not change meanwhile"
        assert not failures and not mixes, f"{len(failures)} of {READS} failed {failures[:1]}, " \
            f"{len(mixes)} mixed two states {mixes[:1]}"


MIB = 1 << 20
READERS = 8


def many(results, daemon, port, local):
    """Readers beside each other, some of which end badly."""
    name, data = f"folder/{local.name}", local.read_bytes()

    def get(_):
        return sum_of(client("nfs-cat", port, name))

    with results.check(f"{READERS} clients at a time read a whole image by NFS"):
        with ThreadPoolExecutor(READERS) as pool:
            assert set(pool.map(get, range(READERS))) == {sum_of(data)}, "other bytes"
    with results.check("the end of a file, and what is behind it, by NFS"), nfs4.Client(port) as reader:
        handle = reader.find("ims", "folder", local.name)
        assert reader.attributes(handle) == (len(data), os.stat(local).st_ino, (77, 77))
        for back in (1, 511, 4096, 65536 + 3, 0, -1):
            at = len(data) - back
            for count in (1, 512, 65536):
                assert reader.read(handle, at, count) == data[at : at + count], f"{count} bytes at {at}"
    with results.check("clients of NFS that are killed in the middle do no harm"):
        killed = subprocess.Popen(command_line("nfs-cat", port, name), stdout=subprocess.PIPE)
        with killed:
            # It waits for the pipe then.
            assert killed.stdout.read(MIB) == data[:MIB], "other bytes"
            killed.kill()
        assert get(0) == sum_of(data), "other bytes"


def restarts(results, daemon, local):
    """Clients that keep a handle, while the daemon goes and comes and the server is restarted with it."""
    data, inode = local.read_bytes(), os.stat(local).st_ino
    handle, device = None, os.stat(daemon.mount).st_dev
    with results.check("a client of NFS keeps a handle"), ganesha(daemon.work, daemon.mount) as port:
        with nfs4.Client(port) as reader:
            handle = reader.find("ims", "folder", local.name)
            assert reader.read(handle, 0, 4096) == data[:4096], "other bytes"
    # Somebody who is in the way of an unmount, so that the next mount is another device.
    in_the_way = os.open(local, os.O_RDONLY)
    for ending, end in [
        ("a restart", daemon.restart),
        ("a crash", lambda: (daemon.kill(), daemon.start())),
        ("the loss of the cache", lambda: (
            daemon.program.stop(), shutil.rmtree(daemon.work / "cache"), daemon.start())),
    ]:
        with results.check(f"it goes on after {ending} of the daemon and a restart of NFS-Ganesha"):
            end()
            with ganesha(daemon.work, daemon.mount) as port:
                with nfs4.Client(port) as reader:
                    assert reader.read_all(handle) == data, "other bytes"
                    assert reader.attributes(handle) == (len(data), inode, (77, 77)), "another file"
                    assert reader.find("ims", "folder", local.name) == handle, "another handle"
                assert client("nfs-cat", port, f"folder/{local.name}") == data, "other bytes"
    assert os.stat(daemon.mount).st_dev != device, "the device has the same number"
    os.close(in_the_way)


def run(results, daemon):
    store = Store(daemon.source / "nfs.zarr")
    write_noise(daemon.source / "folder/many.zarr", 16)
    local = daemon.mount / "folder/many.ims"
    within(10, "the file", local.exists)
    with results.check("NFS-Ganesha exports the mount"), ganesha(daemon.work, daemon.mount) as port:
        rewritten(results, daemon, port, store)
        many(results, daemon, port, local)
    with results.check("handles of NFS outlive the daemon"):
        restarts(results, daemon, local)
