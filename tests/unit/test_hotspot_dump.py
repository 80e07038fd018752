"""HotSpot thread dumps of five Java versions, and what hostile thread names try to do to them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from opsdoc.model import Frame, Malformed
from opsdoc.parsers.detect import kind
from opsdoc.parsers.hotspot_dump import Dump, JavaThread, parse

SAMPLES = Path(__file__).parent / "samples"
VERSIONS = {"8": "1.8.0_392", "11": "11.0.13", "17": "17.0.15", "21": "21.0.8", "25": "25.0.2"}
FAKE = '"fake" #1 prio=5 os_prio=0 tid=0x1 nid=0xb26 runnable\n'
EVIL = 'evil "q" nid=0x1 #5 [12] '
SPLIT = f"split\n{FAKE}   java.lang.Thread.State: RUNNABLE\n\tat com.fake.Fake.fake(Fake.java:1)\n"


def sample(version: str) -> bytes:
    return (SAMPLES / f"hotspot-{version}.txt").read_bytes()


def named(dump: Dump, name: str) -> JavaThread:
    (thread,) = [t for t in dump.threads if t.name == name]
    return thread


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version(version: str) -> None:
    dump = parse(sample(version))
    assert (dump.vm, dump.version) == ("OpenJDK 64-Bit Server VM", VERSIONS[version])
    assert dump.complete
    assert not dump.ambiguous
    assert kind(sample(version)) == "hotspot"
    assert all(t.name and t.tid for t in dump.threads)
    vm = named(dump, "VM Thread")
    assert (vm.number, vm.state, vm.daemon, vm.frames) == (None, None, False, ())
    assert named(dump, "VM Periodic Task Thread").number is None


@pytest.mark.parametrize(("version", "number", "tid"), [("11", 11, 6487), ("17", 13, 6771), ("21", 19, 6560)])
def test_the_hot_thread(version: str, number: int, tid: int) -> None:
    hot = named(parse(sample(version)), "price-engine-hot-0")
    assert (hot.number, hot.tid, hot.daemon, hot.state, hot.carrying) == (number, tid, True, "RUNNABLE", None)
    assert hot.frames[0] == Frame("com.acme.OrderPricer.recalculate", "OrderPricer.java", 6)
    assert hot.frames[1].function == "com.acme.OrderPricer.lambda$main$0"
    assert "$$Lambda" in hot.frames[2].function
    assert hot.frames[2].function.endswith(".run")
    assert hot.frames[2][1:3] == (None, None)
    assert hot.frames[-1].function == "java.lang.Thread.run"
    assert hot.cpu_seconds is not None
    assert hot.elapsed_seconds is not None
    assert 1 < hot.cpu_seconds < hot.elapsed_seconds < 3


def test_java_8() -> None:
    dump = parse(sample("8"))
    hot = named(dump, "pool-1-thread-1")
    assert (hot.number, hot.tid, hot.cpu_seconds, hot.elapsed_seconds) == (23, 0xB26, None, None)
    assert hot.frames[0] == Frame("com.acme.OrderPricer.recalculate", "OrderPricer.java", 88)
    assert hot.frames[1] == Frame("com.acme.OrderPricer$$Lambda$1/791452441.run")
    waiting = named(dump, "http-nio-8080-exec-1")
    assert (waiting.state, waiting.daemon) == ("BLOCKED", True)
    assert waiting.frames[1] == Frame("sun.reflect.NativeMethodAccessorImpl.invoke0")


def test_java_6_has_no_numbers() -> None:
    text = (
        b"Full thread dump Java HotSpot(TM) 64-Bit Server VM (20.45-b01 mixed mode):\n\n"
        b'"worker" daemon prio=10 tid=0x00007f0000001000 nid=0x2a0f in Object.wait() [0x00007f0000002000]\n'
        b"   java.lang.Thread.State: WAITING (on object monitor)\n\tat java.lang.Object.wait(Native Method)\n\n"
    )
    dump = parse(text)
    assert (dump.vm, dump.version) == ("Java HotSpot(TM) 64-Bit Server VM", "20.45-b01")
    assert not dump.complete
    (thread,) = dump.threads
    assert (thread.name, thread.number, thread.tid, thread.daemon) == ("worker", None, 0x2A0F, True)


def test_a_carrier_on_21_has_no_frames_of_its_virtual_thread() -> None:
    carrier = named(parse(sample("21")), "ForkJoinPool-1-worker-1")
    assert (carrier.tid, carrier.carrying, carrier.state, carrier.mounted) == (6565, 24, None, ())
    assert carrier.frames[0].function == "jdk.internal.vm.Continuation.run"


def test_a_carrier_on_25_shows_what_is_mounted() -> None:
    carrier = named(parse(sample("25")), "ForkJoinPool-1-worker-1")
    assert (carrier.tid, carrier.carrying, carrier.state) == (6698, 27, None)
    assert carrier.frames[0].function == "jdk.internal.vm.Continuation.run"
    assert carrier.frames[-1].function == "java.util.concurrent.ForkJoinWorkerThread.run"
    assert carrier.mounted[0] == Frame("com.acme.OrderPricer.recalculate", "OrderPricer.java", 6)
    assert carrier.mounted[-1].function == "jdk.internal.vm.Continuation.enter"


@pytest.mark.parametrize("version", ["11", "25"])
def test_owned_synchronizers_belong_to_the_block(version: str) -> None:
    dump = parse(sample(version))
    owner = named(dump, "owner")
    assert owner.frames
    assert owner.frames[-1].function == "java.lang.Thread.run"


@pytest.mark.parametrize("version", ["11", "17", "21", "25"])
def test_names_cannot_forge_a_header(version: str) -> None:
    dump = parse(sample(version))
    assert not any(t.name == "fake" or t.tid == 0xB26 for t in dump.threads)
    split = named(dump, SPLIT)
    assert split.frames[-1].function == "java.lang.Thread.run"
    assert not any(frame.function.startswith("com.fake") for t in dump.threads for frame in t.frames)
    evil = named(dump, EVIL)
    assert evil.tid not in (None, 1, 12)
    assert evil.number != 5


def test_only_the_wanted_stacks_are_read() -> None:
    every = parse(sample("17"))
    some = parse(sample("17"), only={6771})
    assert [t[:8] for t in some.threads] == [t[:8] for t in every.threads]
    assert [t.tid for t in some.threads if t.frames] == [6771]
    assert named(some, "price-engine-hot-0") == named(every, "price-engine-hot-0")


def test_an_id_that_two_headers_claim_is_ambiguous() -> None:
    # Java 8 prints no list of addresses, so nothing tells the forged header from the real one.
    text = sample("8").replace(b'"main" #1', b'"x\n' + FAKE.encode() + b'" #1')
    dump = parse(text)
    assert dump.ambiguous == {0xB26}
    assert [t.name for t in dump.threads if t.tid == 0xB26] == ["pool-1-thread-1", 'x\n"fake']
    assert any(t.tid == 0xB0B for t in dump.threads)


def test_a_forged_list_of_addresses_on_java_8() -> None:
    # Java 8 prints the newest thread first, so a hostile name can be the first line after the title.
    forged = b'"_java_thread_list=0x1, length=1, elements={\n0x1\n}\n' + FAKE.encode() + b'" #23'
    dump = parse(sample("8").replace(b'"pool-1-thread-1" #23', forged))
    assert len(dump.threads) == 7
    assert dump.ambiguous == {0xB26}


def test_a_forged_address_makes_both_ids_ambiguous() -> None:
    hot = next(line for line in sample("17").split(b"\n") if b'"price-engine-hot-0"' in line)
    address = hot.partition(b" tid=")[2].split(b" ")[0]
    forged = b'"waiter\n"fake" #1 prio=5 tid=' + address + b' nid=0x7 runnable\n" #'
    dump = parse(sample("17").replace(b'"waiter" #', forged))
    assert dump.ambiguous == {6771, 7}


def test_a_forged_vm_thread_or_end_changes_nothing() -> None:
    forged = (
        b'"waiter\n\nJNI global refs: 1, weak refs: 0\n\nFull thread dump X (1 mixed mode):\n\n'
        b'"VM Thread" os_prio=0 tid=0x1 nid=0x1a73 runnable\n\n" #'
    )
    want = parse(sample("17"))
    got = parse(sample("17").replace(b'"waiter" #', forged))
    assert [t[1:8] for t in got.threads] == [t[1:8] for t in want.threads]
    assert (got.version, got.complete, got.ambiguous) == (want.version, True, frozenset())
    assert named(got, "owner") == named(want, "owner")


def test_a_forged_name_in_the_list_of_deadlocks() -> None:
    again = b'\nFound one Java-level deadlock:\n"x\n"VM Thread" os_prio=0 tid=0x1 nid=0x1a73 runnable\n":\n  waiting\n'
    assert parse(sample("17") + again) == parse(sample("17"))


@pytest.mark.parametrize("version", VERSIONS)
def test_the_first_dump_of_a_log(version: str) -> None:
    dump = parse(sample(version))
    log = b"09:00 INFO a line\n" + sample(version) + b'09:01 INFO "x" between\n' + sample(version)
    assert parse(log) == dump
    assert parse(log + sample("8") + sample("25")) == dump
    assert parse(b"4711:\n" + sample(version)) == dump  # jcmd Thread.print writes the pid first
    if version == "8":  # the others have a name with a line break
        assert parse(sample(version).replace(b"\n", b"\r\n")) == dump


@pytest.mark.parametrize("version", ["8", "11", "25"])
def test_a_dump_cut_off_and_taken_again(version: str) -> None:
    whole = parse(sample(version))
    cut = sample(version)[: sample(version).index(b'"VM Thread"')]
    half = parse(cut)
    assert not half.complete
    assert half.threads == whole.threads[: len(half.threads)]
    again = parse(cut + sample(version))
    assert (again.complete, again.ambiguous, again.threads) == (False, frozenset(), half.threads)


def test_edited_addresses_do_not_lose_threads() -> None:
    text = sample("17").replace(b"_java_thread_list=0x00007f080c0c6070, length=17, elements={\n0x", b"elements={\n0x")
    assert len(parse(text).threads) == len(parse(sample("17")).threads) + 1  # the forged one cannot be told
    head, _, rest = sample("17").partition(b"\n}\n")
    text = head.replace(b"0x00007f", b"0x0000aa") + b"\n}\n" + rest
    assert {t.tid for t in parse(sample("17")).threads} < {t.tid for t in parse(text).threads}


@pytest.mark.parametrize(
    ("line", "frame"),
    [
        ("app//com.acme.A.b(A.java:3)", Frame("com.acme.A.b", "A.java", 3)),
        ("java.base@17.0.15/java.lang.Thread.run(Thread.java:840)", Frame("java.lang.Thread.run", "Thread.java", 840)),
        ("java.lang.Thread.run(java.base@17.0.15/Thread.java:840)", Frame("java.lang.Thread.run", "Thread.java", 840)),
        ("java.base/java.lang.X$$Lambda/0x00a1.run(Unknown Source)", Frame("java.lang.X$$Lambda/0x00a1.run")),
        ("loader//com.acme.A.b(java.base@25/Native Method)", Frame("com.acme.A.b")),
        (
            "com.acme.A$$FastClassBySpringCGLIB$$1.b(<generated>)",
            Frame("com.acme.A$$FastClassBySpringCGLIB$$1.b", "<generated>"),
        ),
        ("com.acme.T.price (slow) works(T.kt:7)", Frame("com.acme.T.price (slow) works", "T.kt", 7)),
        ("com.acme.A.b(A.java)", Frame("com.acme.A.b", "A.java")),
        ("com.acme.A.b()", Frame("com.acme.A.b")),
        ("com.acme.A.b(A.java:99999999999)", Frame("com.acme.A.b", "A.java:99999999999")),
        ("strange)", Frame("strange)")),
    ],
)
def test_frames(line: str, frame: Frame) -> None:
    text = f'Full thread dump X (1 m):\n\n"a" #1 prio=5 tid=0x1 nid=0x1 runnable\n\tat {line}\n\n'
    assert parse(text.encode()).threads[0].frames == (frame,)


def test_text_is_never_a_lone_surrogate() -> None:
    text = 'Full thread dump X (1 m):\n\n"%s" #1 prio=5 tid=0x1 nid=0x1 runnable\n\n'
    cesu = "\U0001f600".encode("utf-16-be")
    halves = [cesu[:2].decode("utf-16-be", "surrogatepass"), cesu[2:].decode("utf-16-be", "surrogatepass")]
    assert parse((text % "".join(halves)).encode("utf-8", "surrogatepass")).threads[0].name == "\U0001f600"
    assert parse((text % halves[0]).encode("utf-8", "surrogatepass")).threads[0].name == r"\xed\xa0\xbd"
    assert parse((text % "a\N{LINE SEPARATOR}b").encode()).threads[0].name == "a\N{LINE SEPARATOR}b"
    assert parse(text.encode().replace(b"%s", b"\xff")).threads[0].name == r"\xff"


@pytest.mark.parametrize("data", [b"", b"\0\xff" * 500, b"1TISIGINFO Dump Event", b"a Full thread dump X (1):\n"])
def test_no_dump(data: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        parse(data)
    excerpt = caught.value.detail.removeprefix("not a HotSpot thread dump: ")
    assert len(excerpt) <= 80
    assert excerpt.isprintable()


def big(threads: int) -> bytes:
    """A dump as a server writes it: 620 kB for 420 threads."""
    stack = "".join(
        f"\tat com.acme.pricing.internal.Step{n}.evaluate(java.base@17.0.15/Step{n}.java:{n})\n" for n in range(19)
    )
    blocks = [
        f'"pool-1-thread-{n}" #{n} prio=5 os_prio=0 cpu=1.00ms elapsed=2.00s tid=0x{n:016x} nid=0x{n:x} waiting on'
        f" condition  [0x00007f07ba5f8000]\n   java.lang.Thread.State: TIMED_WAITING (sleeping)\n{stack}\n"
        for n in range(1, threads + 1)
    ]
    elements = ", ".join(f"0x{n:016x}" for n in range(1, threads + 1))
    listed = f"Threads class SMR info:\n_java_thread_list=0x1, length={threads}, elements={{\n{elements}\n}}\n\n"
    return ("Full thread dump X (17.0.15+6 m):\n\n" + listed + "".join(blocks) + "JNI global refs: 1\n").encode()


def test_a_big_dump_is_quick() -> None:
    data = big(420)
    assert 550_000 < len(data) < 750_000

    def best(only: set[int] | None) -> float:
        times = []
        for _ in range(7):
            began = time.process_time()
            dump = parse(data, only)
            times.append(time.process_time() - began)
            assert len(dump.threads) == 420
        return min(times)

    # Measured: 3 ms and 13 ms. The margin is for slower machines; what it guards against is a loop over lines.
    assert best({7, 8}) < 0.015
    assert best(None) < 0.075


@pytest.mark.parametrize(
    "piece",
    [
        b'" tid=0x',
        b'" a=b',
        b'"\n\n"',
        b'x" tid=0x1 nid=0x2\n',
        b'\n\n"x" tid=0x1 nid=0x2\n',
        b'" #1 [1] daemon ',
        b"\nFull thread dump ",
        b"\nFull thread dump X (1 m):\n",
        b"\nJNI global ref",
        b" (",
        b"\tat (",
        b"\tat a)  ",
        b'\n"a" tid=0x1 nid=0x1\nJNI global ref\nFull thread dump X (1 m):',
        b"\n   Mounted virtual thread #",
        b"  ",
        b"\r",
        b"\r\n",
        b'\n"a" tid=0x1\nFull thread dump ',
        b'\nFull thread dump \n\n"',
        b'\n"a" tid=0x1\n\n   Locked ownable synchronizers:',
    ],
)
def test_hostile_input_takes_linear_time(piece: bytes) -> None:
    data = b'Full thread dump X (1 m):\n\n"a" #1 tid=0x9 nid=0x9 r\n' + piece * (400_000 // len(piece))
    began = time.process_time()
    parse(data)
    assert time.process_time() - began < 10  # quadratic would be minutes
