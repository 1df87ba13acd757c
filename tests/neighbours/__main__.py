"""The checks that need no container: `python -m neighbours BINARY WORK`, with the folder above on the path."""

import signal
import sys
from pathlib import Path

from . import ganesha, handles, opens, remote, samba, speed
from .rig import Daemon, Results

CHECKS = {"opens": opens.run, "handles": handles.run, "samba": samba.run, "ganesha": ganesha.run, "remote": remote.run}
# Only on request.
MEASURED = {"speed": speed.run}


def main(binary, work, *wanted):
    results = Results()
    runs = {name: run for name, run in (CHECKS | MEASURED).items() if name in (wanted or CHECKS)}
    for name, run in runs.items():
        with results.check(f"the daemon starts and ends for {name}"):
            with Daemon(binary, Path(work) / name) as daemon:
                run(results, daemon)
    return 1 if results.failed else 0


# So that what was started is stopped, too.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
sys.exit(main(*sys.argv[1:]))
