"""NFS-Ganesha exporting the mount by NFSv4, read with the programs of libnfs, which need no kernel client."""

import subprocess
from contextlib import contextmanager

from .rig import Program, answers, free_port, wanted, within
from .store import Changes, Seen, Store, value_of


READS = 40


@contextmanager
def ganesha(work, mount):
    program, port = wanted("ganesha.nfsd"), free_port()
    folder = work / "ganesha"
    folder.mkdir()
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
EXPORT {{
    Export_Id = 77;
    Path = "{mount}";
    Pseudo = "/ims";
    Protocols = 4;
    Transports = TCP;
    SecType = sys;
    Access_Type = RO;
    Squash = no_root_squash;
    FSAL {{ Name = VFS; }}
}}
""")
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


def client(program, port, name=""):
    url = f"nfs://127.0.0.1/ims/{name}?version=4&nfsport={port}&uid=0&gid=0"
    done = subprocess.run([wanted(program), url], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, (done.stderr or done.stdout).decode(errors="replace")
    return done.stdout


def run(results, daemon):
    store = Store(daemon.source / "nfs.zarr")
    with results.check("NFS-Ganesha exports the mount"), ganesha(daemon.work, daemon.mount) as port:
        with results.check("nfs-ls lists it"):
            listed = within(30, "a listing", lambda: client("nfs-ls", port)).decode()
            assert "nfs.ims" in listed, listed
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
