"""Which cause of hot CPU is the headline when several hold: the one table of precedence."""

from __future__ import annotations

# Of two findings of equal severity the one higher up explains the other, so it comes first.
PRECEDENCE: tuple[str, ...] = (
    "box.steal",  # the machine does not get its CPU: whatever runs looks hot
    "cpu.throttled",  # nor does the container, however fast its code is
    "box.reclaim",  # memory is the cause: everything that touches it waits
    "gc.direct-buffers",  # what the next is for
    "cpu.gc",  # the heap is the cause; application threads merely allocate
    "cpu.jit",
    "cpu.safepoints",
    "cpu.app-code",
    "cpu.kernel-time",  # which system call; the code that makes it stands above where it is known
    "cpu.native",
    "cpu.vm",
    "cpu.hot-thread",  # who, but not what
    "box.softirq",
    "box.short-lived",
    "gc.heap-full",  # not yet a cause
    "box.hidden",
    "cpu.kernel-thread",
    "box.kernel",
    "cpu.hot-process",
    "box.one-cpu",
    "box.not-cpu",
    "box.busy",  # the symptom, when nothing above explains it
)
