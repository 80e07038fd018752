"""A HotSpot thread dump (attach `threaddump`, `jstack`, `jcmd Thread.print`, SIGQUIT in a log) to threads and frames.

Read from dumps of Java 11, 17, 21 and 25 and, for 8 and older, from the HotSpot sources (JavaThread::print_on).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container
from typing import NamedTuple

from opsdoc.model import Frame, Malformed


class JavaThread(NamedTuple):
    """One thread of a dump.

    `number` is the Java thread id (`#23`), None for the VM's own threads. `tid` is the OS thread id as the JVM's own
    (innermost) pid namespace has it, None where the dump has none. `cpu_seconds` and `elapsed_seconds` are since the
    thread began, None before Java 11. `state` is the word of java.lang.Thread.State; it is None for VM threads and for
    a thread `carrying` the virtual thread of that number. Frames are innermost first; `mounted` are those of the
    carried virtual thread, which is the code that runs (Java 25; Java 21 does not print it). Both are
    empty for threads that were not asked for.
    """

    name: str
    number: int | None
    tid: int | None
    cpu_seconds: float | None
    elapsed_seconds: float | None
    daemon: bool
    state: str | None
    carrying: int | None
    frames: tuple[Frame, ...] = ()
    mounted: tuple[Frame, ...] = ()


class Dump(NamedTuple):
    """A thread dump. `version` is the Java version (`17.0.15`, `1.8.0_392`), `complete` that its end was seen.

    `ambiguous` are OS thread ids that cannot be told apart, because more than one header claims them: a thread name
    may contain line breaks and whole headers. Never take a stack for such an id.
    """

    vm: str
    version: str | None
    threads: tuple[JavaThread, ...]
    complete: bool
    ambiguous: frozenset[int] = frozenset()


_BEGIN = re.compile(
    rb"^Full thread dump ([^\n]{1,200}) \(([^\s()]{1,100})(?: [^\n()]{0,300})?\):[ \t\r]*$", re.MULTILINE
)
_END = b"\nJNI global ref"  # "JNI global refs: 4, weak refs: 0"; Java 8: "JNI global references: 123"
_THREAD_LIST = re.compile(rb"_java_thread_list=0x[0-9a-f]+, length=\d+, elements=\{([0-9a-fx,\s]*)\}")

# What the JVM prints after a thread's name, from the closing quote on. Nothing of it contains a quote, so a match can
# only begin at the last `" ` of its line, whatever the name looks like. `ptr` is the address of the JVM's own thread
# object. Digits are bounded so that int() and float() cannot fail.
_HEADER = re.compile(
    rb'" (?:#(?P<number>\d{1,19}) )?(?:\[(?P<tid>\d{1,19})\] )?(?P<daemon>daemon )?'
    rb"(?:prio=-?\d+ )?(?:os_prio=-?\d+ )?"
    rb"(?:cpu=(?P<cpu>\d{1,15}(?:\.\d{1,9})?)ms )?(?:elapsed=(?P<elapsed>\d{1,15}(?:\.\d{1,9})?)s )?"
    rb'(?:[a-z_]+=[^\s"]+ )*?'  # allocated=848B defined_classes=0 with -e, and what later versions may add
    rb"tid=(?P<ptr>0x[0-9a-f]+)(?![0-9a-z])"
    rb'(?: nid=(?P<nid>0x[0-9a-f]{1,16}|\d{1,19})(?![0-9a-z]))?[^\n"]*$'
    rb"(?:\n   (?:java\.lang\.Thread\.State: (?P<state>[A-Z_]+)|Carrying virtual thread #(?P<carrying>\d{1,19})))?",
    re.MULTILINE,
)
_OWNED = b"\n\n   Locked ownable synchronizers:"  # the only blank line within a block (-l)
_MOUNTED = re.compile(r"^   Mounted virtual thread #", re.MULTILINE)
_FRAME = re.compile(r"^[ \t]+at (.+\))[ \t]*$", re.MULTILINE)
# Class loader, module and version before a class (`app//`, `java.base@17.0.15/`). A hidden class has a slash too, but
# a digit follows: `OrderPricer$$Lambda/0x000000003a080210`.
_MODULE = re.compile(r"^.*/(?=[^\d/])")


def frame(text: str) -> Frame:
    """A frame as java.lang.StackTraceElement prints it: `java.base/java.lang.Thread.run(Thread.java:840)`."""
    return _Frames()[text] if text.endswith(")") else Frame(text)


class _Frames(dict[str, Frame]):
    """Stack lines to frames. Hundreds of threads wait in the same code, so each distinct line is taken apart once."""

    def __missing__(self, line: str) -> Frame:
        function, paren, source = line[:-1].rpartition("(")
        if not paren:  # "at foo)"
            function, source = line, ""
        source = source.rpartition("/")[2]
        file, _, number = source.rpartition(":")
        if not (file and number.isascii() and number.isdigit() and len(number) < 10):
            file, number = source, ""
        frame = Frame(
            _MODULE.sub("", function, count=1),
            None if file in ("", "Native Method", "Unknown Source") else file,
            int(number) if number else None,
        )
        self[line] = frame
        return frame


def parse(data: bytes, only: Container[int] | None = None) -> Dump:
    """The first dump in `data`, which may be a log with other lines around it and further dumps after it.

    The first, because only what stands before any thread name cannot have been written by a thread. `only` are the OS
    thread ids whose stacks are wanted (None: all); every thread is listed with its header all the same.
    Raises Malformed if there is no dump.
    """
    begin = _BEGIN.search(data)
    if begin is None:
        raise Malformed(f"not a HotSpot thread dump: {data[:80]!r:.80}")
    if data[begin.end() - 1 : begin.end()] == b"\r":  # saved on or copied through Windows
        data = data[begin.start() :].replace(b"\r\n", b"\n")
        begin = _BEGIN.search(data) or begin
    heads, limit = _real(data, begin.end(), list(_HEADER.finditer(data, begin.end())))
    starts = _starts(data, begin.end(), heads)
    stacks = _Stacks()
    threads = []
    for head, start, after in zip(heads, starts, [*starts, limit][1:], strict=True):
        thread = _thread(head, _text(data[start + 1 : head.start()]))
        if only is None or (thread.tid is not None and thread.tid in only):
            thread = _with_body(thread, data[start:after], head.end("ptr") - start, stacks)
        threads.append(thread)
    last = heads[-1].end() if heads else begin.end()
    return Dump(
        vm=_text(begin[1]),
        version=_java_version(_text(begin[2])),
        threads=tuple(threads),
        complete=data.find(_END, last, limit) >= 0,
        ambiguous=_ambiguous(heads, threads),
    )


def _real(data: bytes, begin: int, found: list[re.Match[bytes]]) -> tuple[list[re.Match[bytes]], int]:
    """The headers that the JVM printed for this dump, as far as that can be known, and where the dump ends.

    Since Java 10 a dump begins with the addresses of its Java threads, before any name. A header with another address
    is part of a name, unless it is that of a VM thread: these have no number and follow after all Java threads.
    """
    elements = _THREAD_LIST.search(data, begin, max(begin, data.find(b'\n"', begin)))  # before the first name
    listed = set(re.findall(rb"0x[0-9a-f]+", elements[1])) if elements else set()
    limit = _limit(data, begin, found, listed)
    found = [head for head in found if head.start() < limit]
    firsts = {head["ptr"]: head.end() for head in reversed(found)}
    ends = [end for ptr, end in firsts.items() if ptr in listed]
    if not ends:
        return found, limit  # there is no list, or somebody edited the addresses
    last = max(ends)
    # After the end the names of deadlocked threads are printed once more.
    end = data.find(_END, last, limit)
    vm = range(last, end if end >= 0 else limit)
    return [h for h in found if h["ptr"] in listed or (h["number"] is None and h.start() in vm)], limit


def _limit(data: bytes, begin: int, found: list[re.Match[bytes]], listed: set[bytes]) -> int:
    """Where the next dump begins: at a first line of a dump, unless that line is a part of a thread's name.

    It is one if the dump lacks threads and what follows, up to another such line, has some of these and none that were
    seen.
    """
    cuts = []
    at = data.find(b"\nFull thread dump ", begin)
    while at >= 0:
        cuts.append(at)
        at = data.find(b"\nFull thread dump ", at + 1)
    if not cuts:
        return len(data)
    if listed.isdisjoint(head["ptr"] for head in found):
        listed = set()
    seen: set[bytes] = set()
    limit, done, last, heads = begin, False, begin, iter(found)
    end = data.find(_END, begin)
    head = next(heads, None)
    for cut in [*cuts, len(data)]:
        here = set()
        while head is not None and head.start() < cut:
            here.add(head["ptr"])
            last = head.end()
            head = next(heads, None)
        if listed:
            here &= listed
        if done or here & seen:
            return limit
        if seen and not here:
            continue
        seen |= here
        limit = cut
        if 0 <= end < last:
            end = data.find(_END, last)
        done = listed <= seen if listed else last <= end < cut
    return limit


def _starts(data: bytes, begin: int, heads: list[re.Match[bytes]]) -> list[int]:
    """Where each header begins, at the quote before the name.

    A block begins after a blank line and has none before its own stack, so the first one after the header before is
    the beginning, even of a name with line breaks. (Java 11 prints some VM threads without the blank line.)
    """
    starts = []
    for head in heads:
        quote = head.start()
        at = data.find(b'\n\n"', begin, quote) + 2
        if at < 2:
            at = data.find(b'\n"', begin, quote) + 1
        starts.append(at or quote - 1)
        begin = head.end()
    return starts


def _thread(head: re.Match[bytes], name: str) -> JavaThread:
    number, tid, daemon, cpu, elapsed, _, nid, state, carrying = head.groups()
    if tid is None and nid is not None:
        os_id: int | None = int(nid, 16) if nid.startswith(b"0x") else int(nid)
    else:
        os_id = None if tid is None else int(tid)
    return JavaThread(
        name,
        None if number is None else int(number),
        os_id,
        None if cpu is None else float(cpu) / 1000,
        None if elapsed is None else float(elapsed),
        daemon is not None,
        None if state is None else state.decode("ascii"),
        None if carrying is None else int(carrying),
    )


class _Stacks(dict[bytes, tuple[tuple[Frame, ...], tuple[Frame, ...]]]):
    """Bodies of blocks to the frames of the thread and of what it carries; pools of threads wait in equal stacks."""

    def __init__(self) -> None:
        super().__init__()
        self._frames = _Frames()

    def __missing__(self, body: bytes) -> tuple[tuple[Frame, ...], tuple[Frame, ...]]:
        text = _text(body)
        cut = _MOUNTED.search(text)
        parts = (text[: cut.start()], text[cut.start() :]) if cut else (text, "")
        own, mounted = (tuple([self._frames[line] for line in _FRAME.findall(part)]) for part in parts)
        self[body] = own, mounted
        return own, mounted


def _with_body(thread: JavaThread, block: bytes, header: int, stacks: _Stacks) -> JavaThread:
    """The thread with its stack: the block up to its blank line; the header ends after `header`."""
    line_end = block.find(b"\n", header)
    if line_end < 0:
        line_end = len(block)
    end = block.find(b"\n\n", line_end)
    if end >= 0 and block.startswith(_OWNED, end):
        end = block.find(b"\n\n", end + 2)
    if end < 0:
        end = len(block)
    frames, mounted = stacks[block[line_end:end]]
    return thread._replace(frames=frames, mounted=mounted)


def _ambiguous(heads: list[re.Match[bytes]], threads: list[JavaThread]) -> frozenset[int]:
    """OS ids in more than one header, and those of headers that share the address of one thread."""
    tids = Counter([thread.tid for thread in threads])
    ptrs = Counter([head["ptr"] for head in heads])
    if len(tids) == len(ptrs) == len(heads):
        return frozenset()
    return frozenset(
        thread.tid
        for head, thread in zip(heads, threads, strict=True)
        if thread.tid is not None and (tids[thread.tid] > 1 or ptrs[head["ptr"]] > 1)
    )


def _java_version(token: str) -> str:
    """`17.0.15` of `17.0.15+6-Debian-1deb12u1`; Java 8 prints the version of its VM: `25.392-b08` is `1.8.0_392`."""
    java8 = re.fullmatch(r"25\.(\d+)-b\d+", token)
    return f"1.8.0_{java8[1]}" if java8 else token.partition("+")[0]


def _text(raw: bytes) -> str:
    """Text as the JVM prints it; bytes that are none stay visible as escapes, so that no lone surrogate gets in."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        pass
    try:  # the JVM's own UTF-8 writes a character beyond U+FFFF as two surrogates
        return raw.decode("utf-8", "surrogatepass").encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeError:
        return raw.decode("utf-8", "backslashreplace")
