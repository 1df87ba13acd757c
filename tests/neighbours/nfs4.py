"""A client of NFSv4.0 that keeps the handle of a file, as clients in a kernel do: after a restart of the server it goes
on with that, and looks no name up. It opens nothing: reads carry the state that stands for none (RFC 7530, 9.1.4.3)."""

import socket
import struct

PROGRAM, VERSION, COMPOUND = 100003, 4, 1
GETATTR, GETFH, LOOKUP, PUTFH, PUTROOTFH, READ = 9, 10, 15, 22, 24, 25
# Attributes by their bits.
SIZE, FSID, FILEID = 4, 8, 20
NOBODY_OPENED = bytes(16)


class Status(Exception):
    """The server refuses an operation."""


def opaque(data):
    return struct.pack(">I", len(data)) + data + bytes(-len(data) % 4)


class Reply:
    """Takes a reply apart."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        taken = self.data[self.at : self.at + count]
        assert len(taken) == count, "a short reply"
        self.at += count
        return taken

    def number(self):
        return struct.unpack(">I", self.take(4))[0]

    def long(self):
        return struct.unpack(">Q", self.take(8))[0]

    def opaque(self):
        count = self.number()
        data = self.take(count)
        self.take(-count % 4)
        return data


class Client:
    """A connection."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 60)
        self.xid = 0

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def receive(self, count):
        data = bytearray()
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise ConnectionError("the server has hung up")
            data += piece
        return bytes(data)

    def compound(self, *operations):
        """Runs operations, each its number and arguments; returns what is behind the status of each."""
        self.xid += 1
        user = struct.pack(">I", 0) + opaque(b"client") + struct.pack(">III", 0, 0, 0)
        call = struct.pack(">IIIIII", self.xid, 0, 2, PROGRAM, VERSION, COMPOUND)
        call += struct.pack(">I", 1) + opaque(user) + struct.pack(">II", 0, 0)
        call += opaque(b"") + struct.pack(">II", 0, len(operations))
        call += b"".join(struct.pack(">I", number) + args for number, args in operations)
        self.socket.sendall(struct.pack(">I", 1 << 31 | len(call)) + call)
        data, is_last = b"", False
        while not is_last:
            (mark,) = struct.unpack(">I", self.receive(4))
            is_last = mark >> 31
            data += self.receive(mark & 0x7FFFFFFF)
        reply = Reply(data)
        assert (reply.number(), reply.number(), reply.number()) == (self.xid, 1, 0), "refused"
        reply.number()
        reply.opaque()
        assert reply.number() == 0, "not accepted"
        status = reply.number()
        reply.opaque()
        reply.number()
        if status:
            raise Status(f"status {status} of {[number for number, _ in operations]}")
        return reply

    def find(self, *names):
        """The handle of a file."""
        looks = [(LOOKUP, opaque(name.encode())) for name in names]
        reply = self.compound((PUTROOTFH, b""), *looks, (GETFH, b""))
        for _ in range(1 + len(looks)):
            assert reply.number() in (PUTROOTFH, LOOKUP) and reply.number() == 0
        assert reply.number() == GETFH and reply.number() == 0
        return reply.opaque()

    def attributes(self, handle):
        """Size in bytes, number of the file, and number of its file system."""
        mask = 1 << SIZE | 1 << FSID | 1 << FILEID
        asked = struct.pack(">II", 1, mask)
        reply = self.compound((PUTFH, opaque(handle)), (GETATTR, asked))
        reply.take(16)
        assert [reply.number() for _ in range(reply.number())] == [mask]
        values = Reply(reply.opaque())
        size, file_system = values.long(), (values.long(), values.long())
        return size, values.long(), file_system

    def read(self, handle, offset, count):
        where = NOBODY_OPENED + struct.pack(">QI", offset, count)
        reply = self.compound((PUTFH, opaque(handle)), (READ, where))
        reply.take(16)
        reply.number()
        return reply.opaque()

    def read_all(self, handle, reads_of=1 << 20):
        size = self.attributes(handle)[0]
        data = bytearray()
        while len(data) < size:
            piece = self.read(handle, len(data), min(reads_of, size - len(data)))
            assert piece, "the file ends early"
            data += piece
        return bytes(data)
