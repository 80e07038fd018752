"""`reread.py FOLDER BYTES`: while hot, reads a mapped file again and again; in less memory than that."""

from __future__ import annotations

import mmap
import os
import sys
import threading
from pathlib import Path

from stage import commands, state, wake

PAGE = mmap.PAGESIZE


def read_for_ever(mapped: mmap.mmap) -> None:
    while True:
        wake.wait()
        for offset in range(0, len(mapped), PAGE):
            mapped[offset]
            if not state.hot:
                break


def main() -> None:
    path, size = Path(sys.argv[1]) / "ledger", int(sys.argv[2])
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    path.unlink()
    block = os.urandom(1 << 20)
    for _ in range(size >> 20):
        os.write(file, block)
    os.fsync(file)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)  # so that the pages belong to who reads them first
    mapped = mmap.mmap(file, 0, prot=mmap.PROT_READ)
    threading.Thread(target=read_for_ever, args=(mapped,), daemon=True).start()
    commands()


main()
