"""`crowd.py COUNT`: that many sleeping processes with command lines of a usual length, gone with their parent."""

from __future__ import annotations

import os
import signal
import sys

from stage import commands

LIFETIME = "1200"  # seconds: should all else fail, they end by themselves

count = int(sys.argv[1])
sleep = next(path for path in ("/bin/sleep", "/usr/bin/sleep") if os.access(path, os.X_OK))
pids = []


def disperse() -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for pid in pids:
        os.waitpid(pid, 0)


for number in range(count):
    name = f"/opt/shop/bin/worker --queue orders --config /etc/shop/worker-{number:04}.yml --log-level info"
    pids.append(os.posix_spawn(sleep, [name, LIFETIME], {}))
commands(at_end=disperse, first=pids[0], last=pids[-1])
