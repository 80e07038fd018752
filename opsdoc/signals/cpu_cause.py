"""Which cause of hot CPU is the headline when several hold: the one table of precedence."""

from __future__ import annotations

# Of two findings of equal severity the one higher up explains the other, so it comes first.
PRECEDENCE: tuple[str, ...] = (
    "box.steal",  # the machine does not get its CPU: whatever runs looks hot
    "cpu.gc",  # the heap is the cause; application threads merely allocate
    "cpu.jit",
    "cpu.app-code",
    "cpu.native",
    "cpu.vm",
    "cpu.hot-thread",  # who, but not what
    "box.softirq",
    "box.short-lived",
    "box.hidden",
    "cpu.kernel-thread",
    "box.kernel",
    "cpu.hot-process",
    "box.one-cpu",
    "box.not-cpu",
    "box.busy",  # the symptom, when nothing above explains it
)
