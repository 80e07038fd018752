"""What opsdoc costs beside what people use today: `make bench` measures both in one run and writes docs/performance.md.

Every pair is measured in turn (A B A B), so that a noisy neighbour meets both; a number is the median of its rounds.
CPU is user and system time of the command with all its children.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import importlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "bench")]

from rows import OPSDOC, WINDOW, Cost, Row, by_command, compared, cost_of, in_turn, told  # noqa: E402
from servers import jdk, native, programs  # noqa: E402

CROWD = 3000
THREADS = 20_000
HTML_LIMIT = 300_000


# ── what is promised ─────────────────────────────────────────────────────────────────────────────


def cpu_beside_runbook(rounds: int) -> list[Row]:
    with jvm() as program:
        runbook = ["/bin/sh", str(ROOT / "bench/runbook.sh"), str(WINDOW), str(program.pid)]
        ours = [*OPSDOC, "cpu", "--json", "--window", f"{WINDOW}s"]
        what = "`opsdoc cpu --json` beside the scripted runbook, a JVM with 400 threads, one hot"
        return by_command(what, ours, runbook, rounds, cpu=0.6, wall=1.0)


def stack_beside_jstack(rounds: int) -> list[Row]:
    with jvm() as program:
        theirs = [jdk.tool("jstack"), "-l", str(program.pid)]
        ours = [*OPSDOC, "stack", str(program.pid), "--json"]
        what = "`opsdoc stack PID --json` beside `jstack -l PID`"
        rows = by_command(what, ours, theirs, rounds, cpu=0.6, wall=0.6)
        what = "the attach, dump and parse inside it, beside `jstack -l PID` as a whole"
        mine, other = in_turn(lambda: attach_and_parse(program.pid), lambda: cost_of(theirs), rounds)
        rows.append(compared(f"{what}: CPU", [c.cpu for c in mine], [c.cpu for c in other], 0.1))
        rows.append(compared(f"{what}: wall", [c.wall for c in mine], [c.wall for c in other], 0.1))
        return rows


def attach_and_parse(pid: int) -> Cost:
    """One dump over the socket, as `opsdoc stack` takes it, and all of it parsed."""
    clients = importlib.import_module("opsdoc.clients")
    hotspot = importlib.import_module("opsdoc.clients.hotspot")
    parser = importlib.import_module("opsdoc.parsers.hotspot_dump")
    redactor = importlib.import_module("opsdoc.redact").Redactor()
    live = clients.Live(redactor=redactor, deadline=time.monotonic() + 30)
    started = int(programs.stat(pid)[19])
    wall, cpu = time.monotonic(), time.process_time()
    hotspot.OpenSocket(pid=pid, started=started).answer(live)
    dump = parser.parse(hotspot.ThreadDump(pid=pid, started=started).answer(live))
    took = Cost(time.monotonic() - wall, time.process_time() - cpu)
    assert len(dump.threads) >= 400
    return took


def top_beside_top(rounds: int) -> list[Row]:
    with programs.ended(programs.crowd(CROWD)):
        theirs = ["top", "-b", "-c", "-n", "2", "-d", str(WINDOW)]
        ours = [*OPSDOC, "top", "--json", "--window", f"{WINDOW}s"]
        what = f"`opsdoc top --json` beside `top -b -c -n 2 -d {WINDOW}`, {CROWD:,} processes"
        return by_command(what, ours, theirs, rounds, cpu=1.0, wall=None)


def many_threads(rounds: int) -> list[Row]:
    with programs.ended(native.many_threads(THREADS)) as program:
        theirs = ["top", "-H", "-b", "-n", "2", "-d", str(WINDOW)]
        ours = [*OPSDOC, "cpu", "--json", "--window", f"{WINDOW}s", "--pid", str(program.pid)]
        what = f"`opsdoc cpu --json`, with the stack, beside `top -H -b -n 2 -d {WINDOW}`, {THREADS:,} threads"
        return by_command(what, ours, theirs, rounds, cpu=1.0, wall=1.0)


def pauses_of_g1(rounds: int) -> list[Row]:
    """How often, and for how long at most, a default run stops a JVM with G1, beside the one dump of jstack."""
    taken, pauses, jstacks = [], [], []
    with jvm() as program:
        for _ in range(rounds):
            done = subprocess.run([*OPSDOC, "cpu", "--json"], capture_output=True, timeout=60, check=False)
            own = [p["seconds"] for p in json.loads(done.stdout)["cost"]["pauses"] if p["pid"] == program.pid]
            taken.append(len(own))
            pauses.append(sum(own))
            jstacks.append(attach_and_parse(program.pid).wall)
    what = "the pause of the default run, an upper bound, beside one dump of the same JVM (G1) alone"
    dumps = statistics.median(taken)
    return [Row(what, told(pauses), told(jstacks), "one dump", f"{dumps:g} dump{'s' * (dumps != 1)}", dumps == 1)]


def version_beside_import(rounds: int) -> list[Row]:
    ours = [*OPSDOC, "--version"]
    theirs = [sys.executable, "-c", "import typer"]
    what = '`opsdoc --version` beside `python -c "import typer"`'
    return by_command(what, ours, theirs, 4 * rounds, cpu=2.0, wall=2.0)


def playbook_validate(rounds: int) -> list[Row]:
    """How much longer the largest shipped playbook takes to be checked than opsdoc to say its version."""
    largest = max((ROOT / "playbooks").glob("*.yml"), key=lambda path: path.stat().st_size)
    ours = [*OPSDOC, "playbook", "validate", str(largest)]
    theirs = [*OPSDOC, "--version"]
    mine, other = in_turn(lambda: cost_of(ours), lambda: cost_of(theirs), 2 * rounds)
    more = statistics.median(c.wall for c in mine) - statistics.median(c.wall for c in other)
    what = f"`opsdoc playbook validate {largest.name}` beside `opsdoc --version`: wall"
    measured = f"{1000 * more:.0f} ms more"
    return [
        Row(what, told([c.wall for c in mine]), told([c.wall for c in other]), "150 ms more", measured, more <= 0.15)
    ]


def expression(_rounds: int) -> list[Row]:
    """One evaluation of a usual expression, in CPU of this process."""
    from opsdoc.playbook.expressions import Items, parse

    threads = Items([{"name": f"worker-{n}", "role": "app", "cpu": 0.01 * n} for n in range(10)])
    names = {"params": {"hot": 0.9}, "steps": {"cpu": {"thread": threads, "status": "ok"}}}
    rows = []
    for text in ("steps.cpu.thread[0].cpu > params.hot", "any(steps.cpu.thread, \"role == 'gc' and cpu > 0.3\")"):
        parsed, took = parse(text), []
        for _ in range(50):
            began = time.process_time()
            for _ in range(300):
                parsed.evaluate(names)
            took.append((time.process_time() - began) / 300)
        value = 1e6 * statistics.median(took)
        rows.append(Row(f"an expression: `{text}`", f"{value:.1f} µs", "", "< 20 µs", f"{value:.1f} µs", value < 20))
    return rows


def all_formats(rounds: int) -> list[Row]:
    """The usual report, from its recording to all formats at once."""
    recording = ROOT / "tests/recordings/cpu/jvm-hot"
    with tempfile.TemporaryDirectory() as folder:
        files = [word for suffix in ("html", "json", "md") for word in ("-o", f"{folder}/report.{suffix}")]
        took = [cost_of([*OPSDOC, "cpu", "--replay", str(recording), *files]).wall for _ in range(rounds)]
    what = "`opsdoc cpu --replay` of the usual report to text, HTML, JSON and Markdown: wall, start included"
    median = statistics.median(took)
    return [Row(what, told(took), "", "< 500 ms", f"{1000 * median:.0f} ms", median < 0.5)]


def modules_of_json(_rounds: int) -> list[Row]:
    with programs.ended(programs.python("idle")) as program:
        command = [sys.executable, "-X", "importtime", "-m", "opsdoc", "cpu", "--json", "--window", "200ms"]
        command += ["--pid", str(program.pid)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode not in range(4) or not done.stdout.startswith("{"):
        raise SystemExit(f"opsdoc cpu --json ended with {done.returncode}")
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    unwanted = sorted(imported & {"rich", "jinja2"})
    measured = f"imports {', '.join(unwanted)}" if unwanted else f"{len(imported)} top-level modules, neither"
    return [Row("modules of a `--json` run", "", "", "neither rich nor jinja2", measured, not unwanted)]


def size_of_html(_rounds: int) -> list[Row]:
    with jvm(), tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        cost_of([*OPSDOC, "cpu", "-o", str(page)])
        size = page.stat().st_size
    what = "HTML report of `opsdoc cpu`, the same JVM"
    return [Row(what, "", "", f"< {HTML_LIMIT // 1000} kB", f"{size / 1000:,.0f} kB", size < HTML_LIMIT)]


def access_log_lines(rounds: int) -> list[Row]:
    """A million lines read and counted in this process, beside goaccess on the same file."""
    access_log = importlib.import_module("access_log")
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "access.log"
        access_log.generate(log)
        ours, theirs = [], []
        for number in range(rounds):
            ours.append(access_log.measure(log))
            if number < 3 and shutil.which("goaccess"):
                theirs.append(access_log.measure_goaccess(log))
    took = statistics.median(ours)
    speed = access_log.LINES / took
    what = f"{access_log.LINES:,} lines of an access log with upstream fields, in one process"
    rows = [Row(what, told(ours), "", "≥ 500,000 lines/s", f"{speed:,.0f} lines/s", speed >= 500_000)]
    if theirs:
        ratio = statistics.median(theirs) / took
        what = "the same beside goaccess, which knows no upstreams: wall"
        rows.append(Row(what, told(ours), told(theirs), "≥ 5 × as fast", f"{ratio:.1f} ×", ratio >= 5))
    return rows


def large_log(rounds: int) -> list[Row]:
    """The last five minutes of 2 GB, from start to report."""
    nginx, access_log = importlib.import_module("nginx"), importlib.import_module("access_log")
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "access.log"
        nginx.large_log(log, 2 * 10**9)
        command = [*OPSDOC, "nginx", "--log", str(log), "--log-format", access_log.FORMAT.text, "--since", "5m"]
        took = [cost_of(command).wall for _ in range(rounds)]
    median = statistics.median(took)
    what = "`opsdoc nginx --since 5m` on a log of 2 GB: wall, start included"
    return [Row(what, told(took), "", "< 1 s", f"{median:.2f} s", median < 1)]


def large_configuration(rounds: int) -> list[Row]:
    nginx = importlib.import_module("nginx")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "nginx.conf"
        nginx.configuration(path)
        size = path.stat().st_size / 1e6
        took = [cost_of([*OPSDOC, "nginx", "--conf", str(path), "--no-dial"]).wall for _ in range(rounds)]
    median = statistics.median(took)
    what = f"`opsdoc nginx --conf` on {size:.1f} MB with 5,000 groups: wall, start included"
    return [Row(what, told(took), "", "< 1.5 s", f"{median:.2f} s", median < 1.5)]


MQ_GROUPS = 1_000


def rocketmq_sweep(rounds: int) -> list[Row]:
    """All groups of a broker: a few beside mqadmin, then a thousand of eight queues, of which a tenth waits."""
    from servers import rocketmq

    with rocketmq.cluster("5.3") as cluster, cluster.broker() as broker:
        cluster.topic("orders", read=8, write=8)
        for queue in range(8):
            broker.send_many("orders", 100, queue=queue)
        ours = [*OPSDOC, "mq", "rocketmq", "--namesrv", cluster.address, "--json", "--window", "0"]
        theirs = [jdk.tool("java"), "-Drocketmq.client.logUseSlf4j=true", f"-Duser.home={cluster.namesrv.folder}"]
        theirs += ["-cp", f"{rocketmq.jars('5.3')}/*", "org.apache.rocketmq.tools.command.MQAdminStartup"]
        theirs += ["consumerProgress", "-n", cluster.address]
        os.environ["ROCKETMQ_HOME"] = str(cluster.namesrv.folder)
        for number in range(MQ_GROUPS):
            broker.group(f"group{number}")
            broker.commit(f"group{number}", "orders", dict.fromkeys(range(8), 100 if number % 10 else 40))
            if number < 30:
                broker.topic(f"%RETRY%group{number}", read=1, write=1)  # mqadmin goes by the retry topics
            if number == 30:
                mine, other = in_turn(lambda: cost_of(ours), lambda: cost_of(theirs), rounds)
        walls = [cost_of(ours).wall for _ in range(rounds)]
    what = "`opsdoc mq rocketmq`, without the window, beside `mqadmin consumerProgress`, 30 groups: wall"
    rows = [compared(what, [cost.wall for cost in mine], [cost.wall for cost in other], 0.1)]
    what = f"`opsdoc mq rocketmq`, {MQ_GROUPS:,} groups of 8 queues, without the window: wall, start included"
    median = statistics.median(walls)
    return [*rows, Row(what, told(walls), "", "< 3 s", f"{median:.2f} s", median < 3)]


def fastjson_reply(rounds: int) -> list[Row]:
    """A reply of 7 MB whose keys are objects, as a broker with 50,000 queues of groups sends it."""
    parser = importlib.import_module("opsdoc.parsers.fastjson")
    key = '{"brokerName":"broker-a","queueId":%d,"topic":"orders"}'
    row = key + ':{"brokerOffset":%d,"consumerOffset":%d,"lastTimestamp":0}'
    text = '{"offsetTable":{' + ",".join(row % (n % 8, 10**9 + n, 10**9) for n in range(60_000)) + "}}"
    data, took = text.encode(), []
    for _ in range(rounds):
        began = time.perf_counter()
        found = parser.parse(data)
        took.append(time.perf_counter() - began)
        assert found["offsetTable"]
    what = f"a fastjson reply of {len(data) / 1e6:.1f} MB with objects as keys, parsed"
    median = statistics.median(took)
    return [Row(what, told(took), "", "< 2 s", f"{median:.2f} s", median < 2)]


PARTS: dict[str, Callable[[int], list[Row]]] = {
    "cpu": cpu_beside_runbook,
    "stack": stack_beside_jstack,
    "top": top_beside_top,
    "threads": many_threads,
    "pauses": pauses_of_g1,
    "version": version_beside_import,
    "playbook": playbook_validate,
    "expression": expression,
    "formats": all_formats,
    "modules": modules_of_json,
    "html": size_of_html,
    "access-log": access_log_lines,
    "large-log": large_log,
    "large-configuration": large_configuration,
    "rocketmq": rocketmq_sweep,
    "fastjson": fastjson_reply,
    "redis-cluster": lambda rounds: importlib.import_module("caches").cluster(rounds),
    "redis-commands": lambda rounds: importlib.import_module("caches").commands(rounds),
    "postgresql": lambda rounds: importlib.import_module("databases").postgresql_servers(rounds),
    "mariadb": lambda rounds: importlib.import_module("databases").mariadb_servers(rounds),
}


@contextlib.contextmanager
def jvm():
    """The JVM with 400 threads, one hot, that has been attached to before."""
    with programs.ended(jdk.hot_one(options=jdk.ATTACHABLE)) as program, program.hot():
        yield program


# ── the page ─────────────────────────────────────────────────────────────────────────────────────


def output(command: Sequence[str]) -> str:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        return (done.stdout + done.stderr).strip()
    return ""


def machine() -> str:
    """What the numbers depend on; no names and no paths."""
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    kernel = re.match(r"\d+\.\d+", platform.release())
    java = re.search(r'"([\d.]+)', output([jdk.tool("java"), "-version"])) if jdk.home() else None
    top = re.search(r"[\d.]+$", output(["top", "-V"]).partition("\n")[0])
    opsdoc = importlib.metadata.version("opsdoc")
    return ", ".join(
        [
            f"opsdoc {opsdoc}",
            f"{os.cpu_count()} × {model[1] if model else platform.machine()}",
            f"{memory:.0f} GiB",
            f"Linux {kernel[0] if kernel else ''}",
            f"CPython {platform.python_version()}",
            f"JDK {java[1] if java else 'none'}",
            f"procps {top[0] if top else 'unknown'}",
        ]
    )


PAGE = """# What opsdoc costs

Written by `make bench` on {date}, not by hand. opsdoc and what it is compared with ran in turn in one session; a
number is the median of {rounds} rounds [smallest–largest], of four times as many for `--version`. CPU is user and
system time of a command with all its children.

The machine: {machine}. Before the run {load:.1f} of its cores were busy with other work.

| what | opsdoc | beside | promised | measured | |
|---|---:|---:|---:|---:|---|
{table}

The runbook is `bench/runbook.sh`: `top -b -c`, `top -H -b -p PID`, `jstack -l PID` and `grep`, with windows of
{window} s. It needs two windows, one for processes and one for threads; opsdoc needs one for both and takes the stacks
within it.
`jstack -l` also lists the ownable synchronizers, which opsdoc does not ask for.
"""


def page(rows: Sequence[Row], rounds: int, load: float) -> str:
    word = {True: "holds", False: "**does not hold**", None: "not measured"}
    table = "\n".join(
        f"| {r.what} | {r.ours} | {r.theirs} | {r.promise} | {r.measured} | {word[r.holds]} |" for r in rows
    )
    date = dt.datetime.now(dt.timezone.utc).date()
    return PAGE.format(date=date, rounds=rounds, machine=machine(), load=load, table=table, window=WINDOW)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=PARTS, action="append", help="measure this part and print it")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a promise does not hold")
    args = parser.parse_args()

    shares = programs.box(2.0)
    load = (1 - shares["idle"] - shares["iowait"]) * (os.cpu_count() or 1)
    rows: list[Row] = []
    for name in args.only or PARTS:
        sys.stderr.write(f"measuring {name}\n")
        try:
            rows += PARTS[name](args.rounds)
        except (SystemExit, ImportError, AttributeError, TypeError) as why:
            rows.append(Row(" ".join(f"{name}: {why}".replace("|", "/").split())[:200], "", "", "", "", None))
    text = page(rows, args.rounds, load)
    sys.stdout.write(text)
    if not args.only:
        (ROOT / "docs").mkdir(exist_ok=True)
        (ROOT / "docs/performance.md").write_text(text)
    return int(args.strict and any(row.holds is not True for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
