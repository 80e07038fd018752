"""`disk_busy.py FOLDER WRITERS`: writers that wait for the disk, each with synchronous writes past the page cache.

What makes iowait is a CPU with nothing to run and a task that waits for its disk: so each writer does as little as it
can besides waiting. Large direct writes with O_DSYNC wait most and cost least; without O_DIRECT (tmpfs, some overlay
file systems) the same is tried through the page cache.
"""

from __future__ import annotations

import mmap
import os
import sys
from pathlib import Path

from stage import commands

BLOCK = 4 << 20
SPAN = 8


def write_for_ever(path: Path, parent: int) -> None:
    flags = os.O_RDWR | os.O_CREAT | os.O_DSYNC
    try:
        file = os.open(path, flags | os.O_DIRECT, 0o600)
    except OSError:
        file = os.open(path, flags, 0o600)
    path.unlink()
    block = mmap.mmap(-1, BLOCK)
    block.write(os.urandom(BLOCK))
    turn = 0
    while os.getppid() == parent:
        os.pwrite(file, block, turn % SPAN * BLOCK)
        turn += 1
    os._exit(0)


def main() -> None:
    folder, writers = Path(sys.argv[1]), int(sys.argv[2])
    me = os.getpid()
    pids = []
    for number in range(writers):
        pid = os.fork()
        if pid == 0:
            write_for_ever(folder / f"journal-{number}", me)
        pids.append(pid)
    commands(writers=pids)


main()
