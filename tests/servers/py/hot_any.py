"""`hot_any.py THREADS DEPTH`: like hot_one.py, for any Python from 2.7 on.

Every stack holds a function that is named after the id of its thread: tid_123. It says whose the stack is.
"""

import json
import os
import signal
import sys
import threading

LIFETIME = 900  # seconds
hot = threading.Event()
never = threading.Event()
started = []


def own_id():
    """As the kernel says it: `threading` knows it from 3.8 on."""
    return int(os.readlink("/proc/thread-self").rpartition("/")[2])


def say(**facts):
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def signed(call):
    """A call that leaves the thread's id in the stack, as the name of a function."""
    tid = own_id()
    names = {}
    exec("def tid_" + str(tid) + "(call): return call()", names)
    started.append(tid)
    return names["tid_" + str(tid)](call)


def wait_for_work(depth):
    if depth > 1:
        return wait_for_work(depth - 1) + 1
    never.wait(LIFETIME)
    return 0


def recalculate():
    total = 1
    # fmt: off
    while hot.is_set(): total = (total * 31 + 7) % 1000003  # HOT
    # fmt: on
    return total


def work():
    while True:
        hot.wait(LIFETIME)
        recalculate()


def start(name, call):
    before = len(started)
    thread = threading.Thread(target=signed, args=(call,), name=name)
    thread.daemon = True
    thread.start()
    while len(started) == before:
        never.wait(0.001)


def commands():
    say(ready=True, hot_tid=started[0], main_tid=own_id())
    while True:
        word = sys.stdin.readline().strip()
        if word in ("", "die"):
            os._exit(0)
        (hot.set if word == "hot" else hot.clear)()
        say(did=word)


def main():
    threads, depth = int(sys.argv[1]), int(sys.argv[2])
    signal.alarm(LIFETIME)
    start("order-worker-3", work)
    for number in range(threads - 2):
        start("http-worker-" + str(number), lambda: wait_for_work(depth))
    signed(commands)


main()
