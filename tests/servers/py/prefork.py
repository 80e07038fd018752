"""`prefork.py WORKERS`: a master that forks so many workers, the last of which burns a core in `recalculate` when told.

Runs on any Python from 3.6 on.
"""

import json
import os
import select
import signal
import sys

LIFETIME = 900  # seconds


def recalculate(orders):
    total = 1
    # fmt: off
    while not select.select([orders], [], [], 0)[0]:
        for number in range(200000): total = (total * 31 + number) % 1000003  # HOT
    # fmt: on
    return total


def work(orders):
    """Obey the master; the end of its pipe, which is also that of a master that was killed, is the worker's."""
    while True:
        order = os.read(orders, 1)
        if not order:
            os._exit(0)
        if order == b"h":
            recalculate(orders)


def fork():
    orders, give = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(give)
        signal.alarm(LIFETIME)
        work(orders)
    os.close(orders)
    return pid, give


def main():
    signal.alarm(LIFETIME)
    workers = [fork() for _ in range(int(sys.argv[1]))]
    hot_pid, give = workers[-1]
    sys.stdout.write(json.dumps({"ready": True, "workers": [pid for pid, _ in workers], "hot_pid": hot_pid}) + "\n")
    sys.stdout.flush()
    for line in sys.stdin:
        word = line.strip()
        if word == "die":
            break
        os.write(give, word[:1].encode())
        sys.stdout.write(json.dumps({"did": word}) + "\n")
        sys.stdout.flush()
    for pid, _ in workers:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


main()
