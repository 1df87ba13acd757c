"""Debian's smbd with the share of README.md, and two clients: smbclient, and smbprotocol with leases."""

import filecmp
import os
import re
import subprocess
import uuid
from contextlib import contextmanager
from pathlib import Path

from smbprotocol.connection import Connection
from smbprotocol.create_contexts import CreateContextName, LeaseState, SMB2CreateContextRequest
from smbprotocol.create_contexts import SMB2CreateRequestLeaseV2
from smbprotocol.exceptions import SMBResponseException
from smbprotocol.open import CreateDisposition, CreateOptions, FileAttributes, FilePipePrinterAccessMask
from smbprotocol.open import ImpersonationLevel, Open, RequestedOplockLevel, ShareAccess
from smbprotocol.session import Session
from smbprotocol.tree import TreeConnect

from .rig import Program, answers, free_port, wanted, within
from .store import Seen, Store

# An account that every machine has; its password is for this smbd only.
USER, PASSWORD = "nobody", "neighbours"

README = Path(__file__).parents[2] / "README.md"


def recipe(share):
    """The settings that README.md recommends, for this share: its global ones, and those of the share."""
    text = README.read_text()
    block = re.search(r"```\n\[global\]\n(.*?)\n\[ims\]\n(.*?)```", text, re.DOTALL)
    assert block, "README.md has no share any more"
    own, changed = block.groups(), re.sub(r"path = .*", f"path = {share}", block.group(2))
    assert f"path = {share}" in changed
    return own[0], changed


@contextmanager
def smbd(work, share):
    program, port = wanted("smbd"), free_port()
    folder = work / "samba"
    folder.mkdir()
    in_all, in_share = recipe(share)
    folders = "\n".join(
        f"{name} = {folder}" for name in
        ("private dir", "lock directory", "state directory", "cache directory", "pid directory",
         "ncalrpc dir", "binddns dir", "usershare path")
    )
    conf = folder / "smb.conf"
    conf.write_text(f"""[global]
{in_all}
server role = standalone server
map to guest = never
interfaces = lo
bind interfaces only = yes
smb ports = {port}
disable netbios = yes
load printers = no
printing = bsd
printcap name = /dev/null
passdb backend = tdbsam:{folder}/passdb.tdb
log file = {folder}/log
{folders}
[ims]
{in_share}""")
    subprocess.run(
        [wanted("smbpasswd"), "-c", conf, "-L", "-a", "-s", USER],
        input=f"{PASSWORD}\n{PASSWORD}\n", text=True, check=True, capture_output=True,
    )
    server = Program(
        [program, "--foreground", "--no-process-group", f"--configfile={conf}"], folder / "out"
    )
    try:
        within(20, "smbd", lambda: answers(port) or not server.is_running())
        assert server.is_running(), server.tail()
        yield port
    finally:
        server.stop()


def smbclient(port, command):
    return subprocess.run(
        [wanted("smbclient"), "-p", str(port), "-U", f"{USER}%{PASSWORD}", "-c", command,
         "//127.0.0.1/ims"],
        capture_output=True, text=True, timeout=60, check=False,
    )


class Client:
    """A program that holds files with leases, as Windows does."""

    def __init__(self, port):
        self.connection = Connection(uuid.uuid4(), "127.0.0.1", port)
        self.connection.connect(timeout=20)
        session = Session(self.connection, USER, PASSWORD, require_encryption=False)
        session.connect()
        self.tree = TreeConnect(session, r"\\127.0.0.1\ims")
        self.tree.connect()

    def open(self, name, lease_key):
        lease = SMB2CreateRequestLeaseV2()
        lease["lease_key"] = lease_key
        lease["parent_lease_key"] = bytes(16)
        lease["epoch"] = bytes(2)
        lease["lease_state"] = (
            LeaseState.SMB2_LEASE_READ_CACHING | LeaseState.SMB2_LEASE_HANDLE_CACHING
        )
        context = SMB2CreateContextRequest()
        context["buffer_name"] = CreateContextName.SMB2_CREATE_REQUEST_LEASE_V2
        context["buffer_data"] = lease
        file = Open(self.tree, name)
        file.create(
            ImpersonationLevel.Impersonation,
            FilePipePrinterAccessMask.GENERIC_READ,
            FileAttributes.FILE_ATTRIBUTE_NORMAL,
            ShareAccess.FILE_SHARE_READ | ShareAccess.FILE_SHARE_WRITE | ShareAccess.FILE_SHARE_DELETE,
            CreateDisposition.FILE_OPEN,
            CreateOptions.FILE_NON_DIRECTORY_FILE,
            create_contexts=[context],
            oplock_level=RequestedOplockLevel.SMB2_OPLOCK_LEVEL_LEASE,
        )
        return file

    def close(self):
        self.connection.disconnect(close=False)


# A look at the chunks counts for two seconds; see doc/SEMANTICS.md.
SOON_S = 8


def reopens(client, name, key):
    """Opens by a lease key that is in use and reads; tells how the server refuses it, if it does."""
    try:
        file = client.open(name, key)
        size, data = file.end_of_file, bytearray()
        while len(data) < size:
            data += file.read(len(data), min(1 << 20, size - len(data)))
        file.close()
        return Seen(bytes(data)), None
    except SMBResponseException as error:
        return None, f"{error.status:#010x} {type(error).__name__}"


def shows_soon(client, name, key, halves):
    """Opens over and over until it shows this state; every time it must open, and show one state."""

    def shows():
        seen, refusal = reopens(client, name, key)
        assert seen, f"refused: {refusal}"
        return seen.halves[0] == halves

    within(SOON_S, halves, shows)


def copies(results, daemon, port):
    store = Store(daemon.source / "smb.zarr")
    local, got = daemon.mount / "smb.ims", daemon.work / "got.ims"
    within(10, "the file", local.exists)
    with results.check("smbclient lists and gets a file whole"):
        done = smbclient(port, f"cd stores; ls; get smb.ims {got}")
        assert done.returncode == 0 and "smb.ims" in done.stdout, done.stdout + done.stderr
        assert filecmp.cmp(got, local, shallow=False), "other bytes"
    with results.check("smbd shows files as offline, so that Explorer leaves them alone"):
        done = smbclient(port, "cd stores; allinfo smb.ims")
        attributes = re.search(r"attributes: (.*)", done.stdout)
        assert attributes and "(1" in attributes[1].rsplit(" ", 1)[1], done.stdout
    with results.check("after a chunk was rewritten, smbclient gets a file always, and soon its new state"):
        store.chunk(0, 300)

        def got_new():
            done = smbclient(port, f"cd stores; get smb.ims {got}")
            assert done.returncode == 0, done.stdout + done.stderr
            return Seen(got.read_bytes()).halves[0] == (300, 7)

        within(SOON_S, "the new state", got_new)


def leases(results, daemon, port):
    store = Store(daemon.source / "lease.zarr")
    name, key = r"stores\lease.ims", os.urandom(16)
    within(10, "the file", (daemon.mount / "lease.ims").exists)
    client = Client(port)
    held = None
    with results.check("smbprotocol holds a file with a lease and opens it again by its key"):
        held = client.open(name, key)
        seen, refusal = reopens(client, name, key)
        assert seen and seen.halves[0] == (100, 7), refusal
    with results.check("so it does after a chunk was rewritten, and soon sees that"):
        assert held, "it did not open"
        store.chunk(0, 200)
        shows_soon(client, name, key, (200, 7))
    with results.check("so does another client"):
        other = Client(port)
        shows_soon(other, name, os.urandom(16), (200, 7))
        other.close()
    with results.check("and after a restart of the daemon"):
        daemon.restart()
        shows_soon(client, name, key, (200, 7))
    client.close()


def run(results, daemon):
    with results.check("smbd serves the share of README.md"), smbd(daemon.work, daemon.share) as port:
        copies(results, daemon, port)
        leases(results, daemon, port)
