"""Debian's smbd with the share of the documents, and two clients: smbclient, and smbprotocol with leases."""

import filecmp
import hashlib
import os
import re
import shutil
import subprocess
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from smbprotocol.connection import Connection
from smbprotocol.create_contexts import CreateContextName, LeaseState, SMB2CreateContextRequest
from smbprotocol.create_contexts import SMB2CreateQueryOnDiskIDResponse, SMB2CreateRequestLeaseV2
from smbprotocol.exceptions import SMBResponseException
from smbprotocol.open import CreateDisposition, CreateOptions, FileAttributes, FilePipePrinterAccessMask
from smbprotocol.open import ImpersonationLevel, Open, RequestedOplockLevel, ShareAccess
from smbprotocol.session import Session
from smbprotocol.tree import TreeConnect

from .rig import Program, answers, free_port, wanted, within
from .store import Seen, Store, write_noise

# An account that every machine has; its password is for this smbd only.
USER, PASSWORD = "nobody", "neighbours"

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "doc/SHARES.md", ROOT / "README.md"]


def recipe(share):
    """The settings that the documents recommend, for this share: its global ones, and those of the share."""
    text = "".join(page.read_text() for page in PAGES if page.exists())
    block = re.search(r"```\w*\n\[global\]\n(.*?)\n\[ims\]\n(.*?)```", text, re.DOTALL)
    assert block, "the documents have no share any more"
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


def command_line(port, command):
    return [
        wanted("smbclient"), "-p", str(port), "-U", f"{USER}%{PASSWORD}", "-c", command, "//127.0.0.1/ims"
    ]


def smbclient(port, command):
    return subprocess.run(
        command_line(port, command), capture_output=True, text=True, timeout=60, check=False
    )


class Getting:
    """An smbclient that gets a file into a pipe: it comes as far as somebody reads, and two of its own reads."""

    def __init__(self, port, name, pipe):
        os.mkfifo(pipe)
        self.path = pipe
        self.client = subprocess.Popen(
            command_line(port, f'get "{name}" "{pipe}"'), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        # Without waiting: if the client fails, it does not open the pipe.
        descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(descriptor, True)
        self.pipe = open(descriptor, "rb")

    def begin(self, count):
        """The first bytes."""
        within(20, "the first bytes", lambda: self.pipe.peek(1) or self.client.poll() is not None)
        return self.pipe.read(count)

    def end(self):
        """The rest, and whether the client has got everything."""
        rest = self.pipe.read()
        return rest, self.client.wait(60) == 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.kill()
        self.client.wait()
        self.pipe.close()
        self.path.unlink()


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
        return self.open_and_identify(name, lease_key)[0]

    def open_and_identify(self, name, lease_key):
        """A file, and the inode in the number by which clients know it: the lower half, as the share is above the mount;
        the upper half is the device, which is another one in each mount."""
        asked = SMB2CreateContextRequest()
        asked["buffer_name"] = CreateContextName.SMB2_CREATE_QUERY_ON_DISK_ID
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
        answers = file.create(
            ImpersonationLevel.Impersonation,
            FilePipePrinterAccessMask.GENERIC_READ,
            FileAttributes.FILE_ATTRIBUTE_NORMAL,
            ShareAccess.FILE_SHARE_READ | ShareAccess.FILE_SHARE_WRITE | ShareAccess.FILE_SHARE_DELETE,
            CreateDisposition.FILE_OPEN,
            CreateOptions.FILE_NON_DIRECTORY_FILE,
            create_contexts=[context, asked],
            oplock_level=RequestedOplockLevel.SMB2_OPLOCK_LEVEL_LEASE,
        )
        (identity,) = [a for a in answers if isinstance(a, SMB2CreateQueryOnDiskIDResponse)]
        return file, identity["disk_file_id"].get_value() & 0xFFFFFFFF

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


MIB = 1 << 20
READERS = 8


def many(results, daemon, port):
    """Readers beside each other, some of which end badly."""
    write_noise(daemon.source / "many.zarr", 32)
    local, name = daemon.mount / "many.ims", "stores/many.ims"
    within(10, "the file", local.exists)
    bytes_of_mount = local.read_bytes()
    size = len(bytes_of_mount)
    plain = daemon.share / "plain.ims"
    shutil.copyfile(local, plain)

    def get(number, name=name):
        """Gets a file by a connection of its own."""
        with Getting(port, name, daemon.work / f"pipe {number}") as getting:
            begin = getting.begin(MIB)
            rest, is_all = getting.end()
        assert is_all, f"smbclient {number} failed"
        return hashlib.sha256(begin + rest).digest()

    wanted_sum = hashlib.sha256(bytes_of_mount).digest()
    with results.check("a whole image is the same as through the mount and as a plain copy"):
        assert get("copy", "plain.ims") == wanted_sum and get("mount") == wanted_sum, "other bytes"
    with results.check(f"so it is for {READERS} clients at a time"), ThreadPoolExecutor(READERS) as pool:
        assert set(pool.map(get, range(READERS))) == {wanted_sum}, "other bytes"
    with results.check("the end of a file, and what is behind it, is as in a plain copy"):
        client = Client(port)
        ends = [
            [read_at(file, size - back, count) for back in (1, 511, 4096, 65536 + 3) for count in (1, 512, 65536)]
            + [read_at(file, size + beyond, 4096) for beyond in (0, 1, MIB)]
            for file in (client.open(r"stores\many.ims", os.urandom(16)), client.open("plain.ims", os.urandom(16)))
        ]
        client.close()
        assert ends[0] == ends[1], f"{ends[0]} and {ends[1]}"
        assert ends[0][:3] == [bytes_of_mount[-1:]] * 3 and "END_OF_FILE" in ends[0][-1], ends[0]
    with results.check("clients that are killed in the middle leave no handle open, and others go on"):
        with ThreadPoolExecutor(1) as pool:
            with Getting(port, name, daemon.work / "pipe") as first:
                with Getting(port, name, daemon.work / "pipe 2") as second:
                    assert first.begin(4 * MIB) == second.begin(4 * MIB) == bytes_of_mount[: 4 * MIB]
                    within(20, "their handles and no others", lambda: daemon.handles() == 2)
                    other = pool.submit(get, "other")
            assert other.result() == wanted_sum, "other bytes"
        within(20, "no handle", lambda: daemon.handles() == 0)
        assert get("next") == wanted_sum, "other bytes"
    with results.check("a crash of the daemon in the middle gives no wrong byte, and smbd serves the next daemon"):
        with Getting(port, name, daemon.work / "pipe") as getting:
            begin = getting.begin(4 * MIB)
            daemon.kill()
            rest, is_all = getting.end()
        daemon.start()
        got = begin + rest
        assert got == bytes_of_mount[: len(got)] and (not is_all or len(got) == size), "wrong bytes"
        assert get("after") == wanted_sum, "other bytes"
    plain.unlink()


def read_at(file, offset, count):
    try:
        return file.read(offset, count)
    except SMBResponseException as error:
        return type(error).__name__ + f" {error.message}"


def restarts(results, daemon, port):
    """A client with one connection, while the daemon goes and comes."""
    write_noise(daemon.source / "folder/restart.zarr", 8)
    local, name = daemon.mount / "folder/restart.ims", r"stores\folder\restart.ims"
    within(10, "the file", local.exists)
    data, inode = local.read_bytes(), os.stat(local).st_ino

    def read_all(file):
        assert file.end_of_file == len(data), f"{file.end_of_file} bytes"
        return b"".join(file.read(at, min(MIB, len(data) - at)) for at in range(0, len(data), MIB))

    client = Client(port)
    held, identity = client.open_and_identify(name, os.urandom(16))
    assert identity == inode & 0xFFFFFFFF, f"{identity:x}, not {inode:x}"
    for ending, end in [("a restart", daemon.restart), ("a crash", lambda: (daemon.kill(), daemon.start()))]:
        with results.check(f"after {ending} of the daemon a file has the number it had"):
            assert held.read(0, MIB) == data[:MIB]
            end()
            # Another order of look-ups than before.
            os.stat(daemon.mount / "lease.ims")
            assert os.stat(local).st_ino == inode, "another inode"
            # What was open then is open no more: it may fail, and not lie.
            last = read_at(held, len(data) - MIB, MIB)
            assert isinstance(last, str) or last == data[-MIB:], "wrong bytes"
            held, found = client.open_and_identify(name, os.urandom(16))
            assert found == identity, f"{found}, was {identity}"
        with results.check(f"after {ending} a client opens and reads by the connection it had, and by another"):
            assert read_all(held) == data, "other bytes"
            other = Client(port)
            file, found = other.open_and_identify(name, os.urandom(16))
            assert found == identity and read_all(file) == data, "another file"
            other.close()
    client.close()


def run(results, daemon):
    with results.check("smbd serves the share of the documents"), smbd(daemon.work, daemon.share) as port:
        copies(results, daemon, port)
        leases(results, daemon, port)
        many(results, daemon, port)
        restarts(results, daemon, port)
