"""Handles of files as NFS servers keep them (`name_to_handle_at`): each opens the same file after a restart of the
daemon, although nobody has looked its name up since."""

import ctypes
import os
import shutil

from .rig import within
from .store import Store

LIBC = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
MOST_BYTES = 128


class Handle(ctypes.Structure):
    """`struct file_handle`."""

    _fields_ = [("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("data", ctypes.c_char * MOST_BYTES)]


def handle_of(path):
    handle, mount_id = Handle(bytes=MOST_BYTES), ctypes.c_int()
    name = os.fsencode(path)
    if LIBC.name_to_handle_at(AT_FDCWD, name, ctypes.byref(handle), ctypes.byref(mount_id), 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return handle


def read_by_handle(mount, handle, count=1 << 16):
    """The inode and the beginning of a file."""
    root = os.open(mount, os.O_RDONLY)
    try:
        file = LIBC.open_by_handle_at(root, ctypes.byref(handle), os.O_RDONLY)
        if file < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        try:
            return os.fstat(file).st_ino, os.pread(file, count, 0)
        finally:
            os.close(file)
    finally:
        os.close(root)


def run(results, daemon):
    for folder in ("", "one/two/three/", "plate.zarr.folder/"):
        Store(daemon.source / f"{folder}deep.zarr")
    names = ["deep.ims", "one/two/three/deep.ims", "plate.zarr.folder/deep.ims"]

    def look():
        within(10, "the files", lambda: all((daemon.mount / name).exists() for name in names))
        files = [daemon.mount / name for name in names]
        begins = [(os.stat(file).st_ino, file.read_bytes()[: 1 << 16]) for file in files]
        assert len(set(begins)) == len(names), "two files are the same"
        return [handle_of(file) for file in files], begins

    def still_open(handles, begins):
        assert [read_by_handle(daemon.mount, handle) for handle in handles] == begins, "other files"

    handles, begins = [], []
    with results.check("a handle opens its file"):
        handles, begins = look()
        still_open(handles, begins)
    for ending, end in [
        ("a restart", lambda: daemon.program.stop()),
        ("a crash", lambda: daemon.kill()),
        ("the loss of the cache", lambda: (daemon.program.stop(), shutil.rmtree(daemon.work / "cache"))),
    ]:
        with results.check(f"so it does after {ending}, before anybody has looked for the name"):
            end()
            # Sorts before what was there.
            Store(daemon.source / f"a {ending}.zarr")
            daemon.start()
            still_open(list(reversed(handles)), list(reversed(begins)))
            assert look()[1] == begins, "other inodes"
