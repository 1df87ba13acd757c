"""What all checks share: results, programs that go away however a check ends, and the daemon."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path


class Skip(Exception):
    """This machine cannot do it."""


class Results:
    """Counts and prints what holds."""

    def __init__(self):
        self.failed = 0

    def say(self, word, name, why=""):
        self.failed += word == "FAILED"
        print(f"{word} {name}" + (f": {why}" if why else ""), flush=True)

    @contextlib.contextmanager
    def check(self, name):
        """A promise: an assertion or any other exception is its failure, and the next one is tried."""
        try:
            yield
        except Skip as reason:
            self.say("SKIPPED", name, reason)
        except Exception as error:
            why = " ".join(str(error).split()) or type(error).__name__
            self.say("FAILED", name, why[:600])
            if not isinstance(error, AssertionError):
                traceback.print_exc(file=sys.stderr)
        else:
            self.say("ok", name)


def within(seconds, what, cond):
    """Waits until `cond` gives something true, and returns that."""
    end = time.monotonic() + seconds
    while True:
        found = cond()
        if found:
            return found
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def wanted(program):
    found = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if found is None:
        raise Skip(f"{program} is not installed; see scripts/setup-neighbours.sh")
    return found


class Program:
    """A server in the foreground, with its log."""

    def __init__(self, args, log, grace=10, **kwargs):
        self.log = log
        self.grace = grace
        with open(log, "ab") as out:
            self.process = subprocess.Popen(
                args, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True, **kwargs,
            )

    def is_running(self):
        return self.process.poll() is None

    def tail(self):
        return self.log.read_text(errors="replace")[-2000:]

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.is_running():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(self.grace)
            except subprocess.TimeoutExpired:
                pass
        # Children of its own, which serve a connection each.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Daemon:
    """The program under test with a source, below `share`, which is what servers export."""

    def __init__(self, binary, work):
        self.binary, self.work = binary, work
        self.source, self.share = work / "source", work / "share"
        self.mount = self.share / "stores"
        self.source.mkdir(parents=True)
        self.mount.mkdir(parents=True)
        self.program = None

    def start(self):
        self.program = Program(
            [self.binary, "--allow-other", "--cache-dir", self.work / "cache", "--cache-size", "1GiB",
             self.source, self.mount],
            self.work / "daemon.log", grace=25,
        )
        within(30, "the mount", lambda: self.is_mounted() or not self.program.is_running())
        assert self.is_mounted(), self.program.tail()
        return self

    def is_mounted(self):
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        return any(line.split(" ")[4] == str(self.mount) for line in mounts)

    def restart(self):
        self.program.stop()
        self.start()

    def kill(self):
        """As if it had crashed."""
        self.program.kill()
        subprocess.run(["umount", "-l", self.mount], check=True)

    def handles(self):
        """Files that are open in the mount, as the daemon tells."""
        status = json.loads((self.mount / ".zarrims/status.json").read_text())
        return sum(mount["open_handles"] for mount in status["mounts"])

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.program.stop()
        if self.is_mounted():
            subprocess.run(["umount", "-l", self.mount], check=False)
