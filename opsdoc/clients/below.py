"""Folders below `/proc/PID`, where every name and link belongs to the target and none is to be trusted."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from opsdoc.clients import Live
from opsdoc.model import Denied, Unsupported


@contextlib.contextmanager
def below(process: Path, path: str, live: Live) -> Iterator[int]:
    """A descriptor of a folder such as `root/tmp` below `/proc/PID`.

    It is opened component by component: a symlink in the target's file system would lead into our own. Only the first
    component, which the kernel makes (`root`, `cwd`), is followed. Raises Unsupported where there is no such folder and
    Denied where it may not be entered.
    """
    first, *rest = path.split("/")
    descriptor = -1
    try:
        try:
            descriptor = os.open(process / first, os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK)
            for name in rest:
                inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
        except (FileNotFoundError, NotADirectoryError) as error:
            raise Unsupported(f"process {process.name}: {path} is not a folder ({error.strerror})") from None
        yield descriptor
    except PermissionError:  # also of what is done with it
        raise Denied(f"not permitted to use {process / path}", live.as_root()) from None
    finally:
        if descriptor >= 0:
            os.close(descriptor)
