"""Sample reports, built as the engine builds them: a hot JVM, a quiet machine, a denied look, an interrupted run."""

from __future__ import annotations

from opsdoc.model import (
    PLAYBOOK,
    Cost,
    Finding,
    Frame,
    HostFacts,
    Observation,
    Pause,
    Point,
    ProbeResult,
    Report,
    Severity,
    Share,
    Threshold,
    Unknown,
    Unseen,
)
from opsdoc.signals.box import Box
from opsdoc.signals.hot import Code, Process, Thread
from opsdoc.signals.peers import ServerPart, UpstreamGroup

STARTED = "2026-11-03T14:02:11.204+08:00"
HOST = HostFacts(
    hostname="web-07",
    kernel="6.1.0-28-amd64",
    cpus=2,
    memory_bytes=8 * 1024**3,
    boot_time="2026-09-14T03:11:09+08:00",
    virtualization="kvm",
)
COST = Cost(
    wall_seconds=2.31,
    cpu_seconds=0.19,
    max_rss_bytes=41 * 1024**2,
    pauses=(Pause(pid=2609, seconds=0.018, how="HotSpot safepoint statistics"),),
)
COMMAND = (
    "java -Xms2g -Xmx2g -XX:+UseG1GC -Dspring.profiles.active=production -Dserver.port=8080 "
    "-Ddb.password=******** -cp /srv/order-service/lib/* -jar /srv/order-service/order-service.jar"
)

FRAMES = (
    Frame("com.acme.OrderPricer.recalculate", "OrderPricer.java", 88),
    Frame("com.acme.OrderPricer.price", "OrderPricer.java", 41),
    Frame("com.acme.OrderConsumer.lambda$start$0", "OrderConsumer.java", 63),
    Frame("java.util.concurrent.Executors$RunnableAdapter.call", "Executors.java", 539, "runtime"),
    Frame("java.util.concurrent.FutureTask.run", "FutureTask.java", 264, "runtime"),
    Frame("java.util.concurrent.ThreadPoolExecutor.runWorker", "ThreadPoolExecutor.java", 1136, "runtime"),
    Frame("java.util.concurrent.ThreadPoolExecutor$Worker.run", "ThreadPoolExecutor.java", 635, "runtime"),
    Frame("io.netty.util.concurrent.FastThreadLocalRunnable.run", "FastThreadLocalRunnable.java", 30, "library"),
    Frame("java.lang.Thread.run", "Thread.java", 840, "runtime"),
)


def samples(levels: list[float | None], label: str = "com.acme.OrderPricer.recalculate") -> tuple[Point, ...]:
    """Ten looks in two seconds; a level under a half saw something else, none saw nothing."""
    return tuple(
        Point(0.1 + 0.2 * i, level, None if level is None else label if level >= 0.5 else "java.lang.Object.wait")
        for i, level in enumerate(levels)
    )


def box(**changes: object) -> Box:
    """The whole machine, busy."""
    usual = Box(
        id="o1",
        subject="web-07",
        busy=0.974,
        cpus=2,
        user=0.911,
        system=0.041,
        iowait=0.0,
        softirq=0.004,
        steal=0.0,
        busiest_cpu=0.99,
        busiest_cpu_id=1,
        busiest_softirq=0.006,
        runnable=5,
        blocked=0,
        forks_per_second=2.0,
        unattributed=0.03,
        pressure=0.61,
        io_pressure=Unknown("no /proc/pressure in this kernel"),
    )
    return usual.replaced(**changes)


def process(
    number: int,
    name: str,
    cpu: float,
    *,
    command: str | None = None,
    runtime: str = "native",
    container: str | None = None,
) -> Process:
    """One process of the ranking."""
    return Process(
        id=f"p{number}",
        subject=f"{2600 + number} {name}",
        cpu=cpu,
        pid=2600 + number,
        ppid=1,
        name=name.split(maxsplit=1)[0].rpartition("/")[2][:15],
        command=command or name,
        user="app" if runtime == "jvm" else "root",
        runtime=runtime,
        container=container,
        started="2026-11-01T09:30:00+08:00",
        cpu_user=cpu * 0.95,
        cpu_system=cpu * 0.05,
        threads=48 if runtime == "jvm" else 1,
        state="S",
    )


def thread(number: int, name: str, cpu: float, **changes: object) -> Thread:
    """One thread of the hot process."""
    tid = 2850 + number
    usual = Thread(
        id=f"t{number}",
        subject=f"{tid} {tid:#x} {name}",
        cpu=cpu,
        pid=2609,
        tid=tid,
        tid_hex=f"{tid:#x}",
        ns_tid=Unknown("no NSpid in this kernel"),
        name=name,
        state="RUNNABLE",
        role="app",
        cpu_user=cpu * 0.99,
        cpu_system=cpu * 0.01,
        source="HotSpot attach, jstack",
    )
    return usual.replaced(**changes)


def processes() -> tuple[Process, ...]:
    """The ranking of a machine with one hot JVM."""
    return (
        process(9, COMMAND, 1.02, runtime="jvm", container="3f9c1a"),
        process(31, "nginx: worker process", 0.31),
        process(12, "/usr/sbin/mysqld --defaults-file=/etc/mysql/my.cnf", 0.22),
        process(44, "python3 /srv/批量导入/导入任务.py", 0.08, runtime="python"),
        process(2, "/usr/bin/containerd", 0.01),
    )


def threads() -> tuple[Thread, ...]:
    """The threads of the hot JVM."""
    return (
        thread(
            4,
            "order-worker-3",
            0.98,
            agreement=Share(9, 10),
            frames=FRAMES,
            samples=samples([0.97, 0.99, 1.0, 0.98, 0.31, 1.0, 0.99, 1.0, 0.97, 0.98]),
        ),
        thread(1, "http-nio-8080-exec-1", 0.02, state="TIMED_WAITING", frames=FRAMES[5:]),
        thread(9, "G1 Main Marker", 0.003, role="gc", state=Unknown("VM threads have no Java state"), agreement=None),
        thread(12, "C2 CompilerThread0", 0.0, role="jit", state=Unknown("VM threads have no Java state")),
    )


def cleared(rule: str, summary: str) -> Finding:
    """A cause that was ruled out."""
    return Finding(rule=rule, key=f"{rule}:web-07", severity=Severity.OK, subject="web-07", summary=summary)


CLEARED = (
    cleared("cpu.gc", "GC 0.3 %"),
    cleared("cpu.jit", "JIT 0 %"),
    cleared("cpu.kernel", "kernel 4 %"),
    cleared("cpu.throttled", "throttling none"),
    cleared("cpu.forks", "2 forks/s"),
)

HOT = Finding(
    rule="cpu.app-code",
    key="cpu.app-code:java/order-worker",
    severity=Severity.CRITICAL,
    subject="pid 2609 java · thread 0xb26 order-worker-3",
    summary="order-service burns a whole core in OrderPricer.recalculate (OrderPricer.java:88)",
    evidence=("p9", "t4", "o1"),
    threshold=Threshold(
        name="hot.thread_cpu",
        value=0.98,
        warn=0.5,
        crit=0.9,
        unit="cores",
        source="a thread that owns a core for seconds is a loop or a queue without end",
    ),
    confidence="9 of 10 samples",
    ruled_out=tuple(f.rule for f in CLEARED),
    next_step="read OrderPricer.java:88 for a loop that one order can keep alive; the thread did not move in 2 s",
    by_hand=("top -Hp 2609", "jstack -l 2609 | grep -C 8 'nid=0xb26'"),
)

RUNNABLE = Finding(
    rule="box.run-queue",
    key="box.run-queue:web-07",
    severity=Severity.WARNING,
    subject="web-07",
    summary="5 threads want to run on 2 cores: everything else on web-07 waits for a turn",
    evidence=("o1",),
    threshold=Threshold(name="box.runnable", value=5, warn=4, crit=16, unit="count", source="twice the cores"),
    next_step="take the hot process first; see whether the queue is gone",
    by_hand=("vmstat 1 5",),
)

NO_ROOT = Unseen(
    subject="kernel stack of 2854",
    reason="denied",
    detail="reading it needs root",
    hint="sudo /opt/opsdoc/bin/opsdoc cpu",
)


def result(
    *observations: Observation, findings: tuple[Finding, ...] = (), unseen: tuple[Unseen, ...] = (), **changes: object
) -> ProbeResult:
    """One invocation of the probe cpu."""
    usual = ProbeResult(
        probe="cpu",
        step=None,
        targets=("localhost",),
        status="ok",
        started=STARTED,
        elapsed=2.2,
        window=2.0,
        observations=observations,
        totals={"process": 143, "thread": 48},
        unseen=unseen,
        findings=findings,
    )
    return usual._replace(**changes)  # type: ignore[arg-type]


def report(*results: ProbeResult, **changes: object) -> Report:
    """A report on web-07."""
    usual = Report(title="cpu", version="0.1.0", host=HOST, started=STARTED, elapsed=2.31, results=results, cost=COST)
    built = usual._replace(**changes)  # type: ignore[arg-type]
    return built._replace(exit_code=built.severity.exit_code)


def critical() -> Report:
    """A JVM thread that burns a core, with everything that proves it."""
    code = Code(
        id="c1",
        subject="OrderPricer.recalculate in pid 2609",
        cpu=0.98,
        pid=2609,
        threads=1,
        agreement=Share(9, 10),
        role="app",
        frame=FRAMES[0],
        tids=(2854,),
    )
    found = result(box(), *processes(), *threads(), code, findings=(HOT, RUNNABLE, *CLEARED), unseen=(NO_ROOT,))
    return report(found, redactions={"argv-password": 1, "url-password": 0})


def idle() -> Report:
    """Nothing wrong."""
    quiet = box(busy=0.031, user=0.02, system=0.01, runnable=1, busiest_cpu=0.05, pressure=0.0)
    well = (
        cleared("cpu.saturated", "97 % of 2 cores idle"),
        cleared("cpu.app-code", "no process above 0.10 cores"),
    )
    cool = tuple(p.replaced(cpu=c) for p, c in zip(processes(), (0.04, 0.01, 0.01, 0.0, 0.0), strict=True))
    no_pause = COST._replace(pauses=(), wall_seconds=2.1, cpu_seconds=0.11)
    return report(result(quiet, *cool, findings=well), cost=no_pause)


def top() -> Report:
    """A table that was asked for."""
    well = (cleared("cpu.app-code", "no process has used a core to itself"),)
    return report(result(*processes(), findings=well, probe="top"), title="top")


def denied() -> Report:
    """The hot thread is known, its code is not: that could change the verdict."""
    blind = thread(4, "order-worker-3", 0.98, frames=Unknown("attaching to a JVM of another user needs root"))
    finding = Finding(
        rule="cpu.unseen-code",
        key="cpu.unseen-code:java",
        severity=Severity.UNKNOWN,
        subject="pid 2609 java · thread 0xb26 order-worker-3",
        summary="order-service burns a whole core, and its code could not be seen without root",
        evidence=("p9", "t4"),
        next_step="run opsdoc as root or as the user app: sudo /opt/opsdoc/bin/opsdoc cpu --pid 2609",
        by_hand=("sudo -u app jstack -l 2609 | grep -C 8 'nid=0xb26'",),
    )
    blinds = (
        *(
            Unseen(
                subject=f"stack of {2850 + i}",
                reason="denied",
                detail="attach needs the user app or root",
                hint="sudo /opt/opsdoc/bin/opsdoc cpu",
            )
            for i in range(12)
        ),
        Unseen(subject="CPU pressure", reason="unsupported", detail="this kernel has no /proc/pressure"),
    )
    return report(result(box(), *processes(), blind, findings=(finding,), unseen=blinds, status="partial"))


def interrupted() -> Report:
    """Stopped before the stacks were taken."""
    stopped = Unseen(subject="stacks", reason="interrupted", detail="stopped after 0.8 s, before the stacks were taken")
    finding = Finding(
        rule="run.interrupted",
        key="run.interrupted:cpu",
        severity=Severity.UNKNOWN,
        subject="cpu",
        summary="stopped after 0.8 s: the hottest process is known, its threads are not",
        evidence=("p9",),
    )
    seen = result(box(), *processes(), findings=(finding,), unseen=(stopped,), status="partial", elapsed=0.8)
    return report(seen, interrupted=True, elapsed=0.82)


PARTS = (
    ServerPart("10.3.1.7:8080", 8120, 12, 0.334, 0.333, 0.012, 0.041, "up", "connects"),
    ServerPart("10.3.1.8:8080", 8098, 812, 0.333, 0.333, 0.012, 0.153, "failing", "refused"),
    ServerPart("[2001:db8::9]:8080", 8092, 0, 0.333, 0.333, Unknown("no answer was timed"), None, "up", None),
)


def group(number: int, name: str, servers: tuple[ServerPart, ...], **changes: object) -> UpstreamGroup:
    """One upstream group with its servers."""
    usual = UpstreamGroup(
        id=f"g{number}",
        subject=name,
        error_share=0.021,
        requests=24_310,
        no_live=0,
        masked=411,
        retry_seconds=0.012,
        server_count=len(servers),
        statuses={"200": 23_800, "502": 510},
        servers=servers,
    )
    return usual.replaced(**changes)


def parts() -> Report:
    """Observations that carry records: a few, more than a picture holds, one, and none."""
    many = tuple(ServerPart(f"10.3.2.{n}:80", 100 + n, 7 if n == 3 else 0) for n in range(16))
    found = (
        group(1, "order-service", PARTS),
        group(2, "search", many, error_share=0.004),
        group(3, "pay", (ServerPart("unix:/run/支付.sock", 40, 0),), error_share=0.0),
        group(4, "static", (), error_share=Unknown("no log was read")),
    )
    failing = Finding(
        rule="upstream.errors",
        key="upstream.errors:order-service/10.3.1.8:8080",
        severity=Severity.CRITICAL,
        subject="order-service 10.3.1.8:8080",
        summary="order-service: 10.3.1.8:8080 refuses one in ten attempts",
        evidence=("g1",),
    )
    return report(result(*found, findings=(failing,), probe="nginx", totals={}), title="nginx")


def step(name: str, seen: ProbeResult, begin: int, elapsed: float) -> ProbeResult:
    """A result as one of several steps: with ids that no other step has."""
    return seen._replace(
        step=name,
        started=f"2026-11-03T14:02:{begin:02}.204+08:00",
        elapsed=elapsed,
        observations=tuple(o.replaced(id=f"{name}.{o.id}") for o in seen.observations),
        findings=tuple(f._replace(evidence=tuple(f"{name}.{key}" for key in f.evidence)) for f in seen.findings),
    )


def skipped(name: str, why: str) -> ProbeResult:
    """A step that was not run."""
    finding = Finding(
        rule="step.skipped",
        key=f"step.skipped:{name}",
        severity=Severity.OK,
        subject=f"step {name}",
        summary=f"step {name}: {why}",
    )
    return result(findings=(finding,), probe="threads", step=name, status="skipped", targets=(), totals={}, elapsed=0.0)


def steps() -> Report:
    """A playbook: one step found the cause, one looked closer, one ran out of time, one was not needed."""
    hot = step("hot", result(box(), *processes(), *threads(), findings=(HOT, *CLEARED), unseen=(NO_ROOT,)), 11, 2.2)
    closer = result(
        thread(4, "order-worker-3", 0.98, frames=FRAMES),
        findings=(cleared("stack.seen", "thread 2854 is RUNNABLE in com.acme.OrderPricer.recalculate"),),
        probe="stack",
        totals={},
        window=None,
    )
    late = Finding(
        rule="target.timeout",
        key="target.timeout:db",
        severity=Severity.UNKNOWN,
        subject="10.3.1.9:3306",
        summary="10.3.1.9:3306 did not answer within 5 s",
        next_step="see whether anything answers there",
        by_hand=("nc -zv 10.3.1.9 3306",),
    )
    lost = Unseen(subject="10.3.1.9:3306", reason="timeout", detail="no answer within 5 s")
    db = result(
        findings=(late,),
        unseen=(lost,),
        probe="top",
        targets=("10.3.1.9:3306",),
        status="timeout",
        totals={},
        window=None,
    )
    burns = Finding(
        rule="cpu-hot.code",
        key="cpu-hot.code:cpu-hot",
        severity=Severity.CRITICAL,
        subject="Which code burns the CPU",
        summary="one thread of order-service owns a core, and its code is the user's own",
        evidence=("hot.p9", "hot.t4"),
        next_step="roll back the release that touched OrderPricer",
        by_hand=("kubectl rollout undo deployment/order-service",),
    )
    slow = burns._replace(
        rule="cpu-hot.database",
        key="cpu-hot.database:cpu-hot",
        severity=Severity.UNKNOWN,
        subject="Whether the database is behind it",
        summary="cannot be told: 10.3.1.9:3306 did not answer within 5 s",
        evidence=(),
        next_step="",
        by_hand=(),
    )
    judged = result(
        *(o for o in hot.observations if o.id in burns.evidence),
        findings=(burns, slow),
        probe=PLAYBOOK,
        status="partial",
        totals={},
        window=None,
        elapsed=7.4,
    )
    done = (
        hot,
        step("stacks", closer, 13, 0.4),
        step("db", db, 13, 5.0),
        skipped("gc", "not needed: not steps.hot.gc"),
    )
    cost = COST._replace(wall_seconds=7.4)
    return report(*done, judged, title="run cpu-hot", elapsed=7.4, cost=cost, redactions={"argv-password": 2, "pem": 1})


ALL = {
    "critical": critical,
    "idle": idle,
    "top": top,
    "denied": denied,
    "interrupted": interrupted,
    "steps": steps,
    "parts": parts,
}
