"""What taking stacks and counters does to others beyond reading /proc, in words, for those who ask beforehand."""

from __future__ import annotations

OF_STACKS = (
    "a JVM: dials its attach socket /tmp/.java_pidN; the JVM stands still for each thread dump",
    "a JVM without it: makes .attach_pidN in its working directory or /tmp for a moment; sends it SIGQUIT",
    "a Java 21 with hot virtual threads: makes a pipe .opsdoc_N_X/threads in its /tmp for a moment",
    "a Python program: runs py-spy, which reads its memory and does not stop it",
    "native code and the kernel: runs perf record for a second, which stops nobody",
)
OF_COUNTERS = ("a JVM and its cgroup: reads its perf data file /tmp/hsperfdata_USER/N, and the files of its cgroup",)
