"""Opens as smbd and other servers make them, `O_PATH` and then `/proc/self/fd/N`, while a store changes.

By its path a file is opened again by the kernel where the first answer is "stale"; by a descriptor it is
not, and the error becomes "access denied" on Windows."""

import errno
import os
import random
import time

from .rig import within
from .store import FIRST, Changes, Seen, Store, attributes, red_of, value_of, write

OPENS = 100

# What was looked at may be told for so long; see doc/SEMANTICS.md.
OLD_S = 3


def open_as_servers(path, pause):
    reference = os.open(path, os.O_PATH)
    try:
        os.fstat(reference)
        time.sleep(pause)
        return os.open(f"/proc/self/fd/{reference}", os.O_RDONLY)
    finally:
        os.close(reference)


def read_all(descriptor):
    size, data = os.fstat(descriptor).st_size, bytearray()
    while len(data) < size:
        piece = os.pread(descriptor, size - len(data), len(data))
        assert piece, "the file ends early"
        data += piece
    return bytes(data)


def opens(file, changes, is_state):
    """Opens over and over; `is_state(seen, first, last)` tells whether it is one of these states."""
    seed = time.time_ns() % 1_000_000
    chance = random.Random(seed)
    failures, stale, mixes = [], 0, []
    for number in range(OPENS):
        time.sleep(chance.uniform(0, 0.08))
        begun = time.monotonic()
        try:
            descriptor = open_as_servers(file, chance.uniform(0, 0.03))
        except OSError as error:
            failures.append(errno.errorcode.get(error.errno))
            continue
        try:
            seen = Seen(read_all(descriptor))
            first, last = changes.at(begun - OLD_S), changes.at(time.monotonic())
            assert is_state(seen, first, last), f"{seen.__dict__} is none of {first} to {last}"
        except AssertionError as error:
            mixes.append(f"opening {number}: {error}")
        except OSError as error:
            # An opening ends where the store has changed since; this is what it promises.
            assert error.errno == errno.ESTALE, error
            stale += 1
        finally:
            os.close(descriptor)
    assert changes.at(time.monotonic()) > 2, "the store did not change meanwhile"
    told = f"seed {seed}: {len(failures)} of {OPENS} opens failed {sorted(set(failures))}"
    told += f", {len(mixes)} mixed two states {mixes[:2]}, {stale} ended by a change"
    assert not failures and not mixes, told
    assert stale <= OPENS * 0.8, told


def run(results, daemon):
    def case(name, every, make_change, is_state):
        store = Store(daemon.source / f"{name}.zarr")
        file = daemon.mount / f"{name}.ims"
        with results.check(f"opens while {name.replace('_', ' ')}"):
            within(10, "the file", file.exists)
            Seen(file.read_bytes())
            with Changes(every, make_change(store)) as changes:
                opens(file, changes, is_state)

    case(
        "a_chunk_is_rewritten", 0.5,
        lambda store: lambda number: store.chunk(0, value_of(number)),
        lambda seen, first, last: seen.halves[0][1] == 7
        and value_of(first) <= seen.halves[0][0] <= value_of(last),
    )
    case(
        "chunks_come_and_go", 0.3,
        lambda store: lambda number: store.chunk(1, 7) if number % 2 == 0 else store.remove_chunk(1),
        lambda seen, first, last: seen.halves[0][0] == FIRST
        and seen.halves[0][1] in {0 if state % 2 else 7 for state in range(first, last + 1)},
    )

    def is_told(seen, first, last):
        number = int(seen.name.removeprefix("state "))
        red = round(float(seen.color.split()[0]) * 255)
        return first <= number <= last and red == red_of(number)

    case(
        "attributes_are_rewritten", 1.0,
        lambda store: lambda number: write(store.path / ".zattrs", attributes(number)),
        is_told,
    )

