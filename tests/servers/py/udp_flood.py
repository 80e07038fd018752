"""`udp_flood.py`: while hot, one CPU sends small packets to itself over the loopback, which receives them in softirqs.

Nothing leaves the machine. The socket is never read: the kernel drops what does not fit, after the work was done.
"""

from __future__ import annotations

import os
import socket
import threading

from stage import commands, state, wake


def flood(sender: socket.socket) -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # this thread alone
    packet = b"x" * 64
    while True:
        wake.wait()
        while state.hot:
            sender.send(packet)


def main() -> None:
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.connect(receiver.getsockname())
    threading.Thread(target=flood, args=(sender,), daemon=True).start()
    commands(cpu=min(os.sched_getaffinity(0)))


main()
