"""perf: what `perf script` prints, and what is made of it; real programs for what perf itself does."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from servers import native, programs

from opsdoc.clients import Live, perf
from opsdoc.clients.perf import PerfSamples, record_argv
from opsdoc.looks.native import read
from opsdoc.model import Denied, Frame, Interrupted, Malformed, Share, TimedOut, Unknown, Unreachable, Unsupported
from opsdoc.parsers.perf_script import Place, Sample, parse
from opsdoc.redact import Redactor

SCRIPT = b"""\
 4711 cpu-clock:\x20
\t            1145 spin_here (/srv/app/spin)
\t           27249 __libc_start_call_main (/usr/lib/x86_64-linux-gnu/libc.so.6)

 4712 cpu-clock:\x20
\tffffffff8110a3a2 clear_user+0x3 ([kernel.kallsyms])
\tffffffff81204b5b __x64_sys_read ([kernel.kallsyms])
\t    7f5a1b0fe31d __GI___libc_read (/usr/lib/libc.so.6)
\t    55d0a3f2b0c1 ns::Copy<int>::run(int (*)(char)) const (/srv/a (b)/cp (deleted))

"""


def live(seconds: float = 30.0) -> Live:
    return Live(deadline=time.monotonic() + seconds, redactor=Redactor())


# ── the text ─────────────────────────────────────────────────────────────────────────────────────


def test_samples_with_their_stacks():
    one, other = parse(SCRIPT)
    assert one == Sample(
        4711,
        (
            Place("spin_here", "/srv/app/spin"),
            Place("__libc_start_call_main", "/usr/lib/x86_64-linux-gnu/libc.so.6"),
        ),
    )
    assert [place.kernel for place in other.frames] == [True, True, False, False]
    assert other.frames[3] == Place("ns::Copy<int>::run(int (*)(char)) const", "/srv/a (b)/cp (deleted)")


@pytest.mark.parametrize("header", [b"4711", b" 4711 ", b"4711 cpu-clock: ", b" 4711 cycles:P: "])
def test_every_kind_of_header(header):
    (sample,) = parse(header + b"\n\t 1145 spin (/a)\n\n")
    assert (sample.tid, sample.user_only) == (4711, False)


def test_a_kernel_that_was_not_shown_is_known_as_such():
    (sample,) = parse(b"7 cpu-clock:u: \n\t 1145 spin (/a)\n\n")
    assert sample.user_only
    (sampled,) = read(b"7 cpu-clock:u: \n\t 1145 spin (/a)\n\n").values()
    assert isinstance(sampled.kernel, Unknown)
    assert sampled.syscalls == ()


@pytest.mark.parametrize(
    ("line", "place", "kernel"),
    [
        (b"\tffffffffc0a01234 nf_hook ([nf_tables])", Place("nf_hook", "[nf_tables]"), True),
        (b"\tffffffff81000000 [unknown] ([unknown])", Place("[unknown]", "[kernel.kallsyms]"), True),
        (b"\t7ffd1ee08b18 __vdso_gettimeofday ([vdso])", Place("__vdso_gettimeofday", "[vdso]"), False),
        (b"\t7f3c [unknown] ([unknown])", Place("[unknown]", "[unknown]"), False),
        (b"\t7f3c [unknown] (//anon)", Place("[unknown]", "//anon"), False),
        (b"\t12 JS:*spin /a b.js:1:14 (/tmp/perf-7.map)", Place("JS:*spin /a b.js:1:14", "/tmp/perf-7.map"), False),
    ],
)
def test_where_a_frame_is(line, place, kernel):
    (sample,) = parse(b"7\n" + line + b"\n\n")
    assert sample.frames == (place,)
    assert place.kernel is kernel


@pytest.mark.parametrize("cut", range(len(SCRIPT)))
def test_what_is_cut_off_in_the_middle_is_left_out(cut):
    whole = parse(SCRIPT)
    try:
        samples = parse(SCRIPT[:cut])
    except Malformed:
        samples = ()
    assert samples == whole[: len(samples)]
    assert len(samples) == (cut > SCRIPT.index(b"\n\n") + 1)


def test_nothing_was_sampled_of_a_thread_that_slept():
    assert parse(b"") == ()
    assert read(b"") == {}


def test_text_without_a_sample_is_malformed():
    with pytest.raises(Malformed):
        parse(b"perf: Segmentation fault\n-------- backtrace --------\n")


# ── what a thread does ───────────────────────────────────────────────────────────────────────────


def script(*stacks: tuple[str, ...]) -> bytes:
    return "".join("7 cpu-clock: \n" + "".join(f"\t12 {line}\n" for line in stack) + "\n" for stack in stacks).encode()


def test_the_place_it_was_in_most_and_how_often():
    a, b = ("memcpy (/lib/libc.so.6)", "copy (/srv/app)"), ("spin (/srv/app)",)
    sampled = read(script(a, b, a))[7]
    assert sampled.frames == (Frame("memcpy", "libc.so.6", None, "runtime"), Frame("copy", "app", None, "app"))
    assert sampled.agreement == Share(2, 3)
    assert sampled.kernel == Share(0, 3)


@pytest.mark.parametrize(
    ("line", "frame"),
    [
        ("dgemm_kernel (/x/numpy.libs/libopenblas-r0.so)", Frame("dgemm_kernel", "libopenblas-r0.so", None, "library")),
        ("[unknown] (/x/libopenblas.so.0)", Frame("unnamed function", "libopenblas.so.0", None, "library")),
        ("[unknown] (/srv/app)", Frame("unnamed function", "app", None, "app")),
        ("_PyEval (/usr/lib/libpython3.11.so.1.0)", Frame("_PyEval", "libpython3.11.so.1.0", None, "runtime")),
        ("vm_exec (/usr/lib/libruby-3.1.so.3.1.2)", Frame("vm_exec", "libruby-3.1.so.3.1.2", None, "runtime")),
        ("execute_ex (/usr/sbin/php-fpm8.2)", Frame("execute_ex", "php-fpm8.2", None, "runtime")),
        ("JavaThread::run (/jdk/lib/server/libjvm.so)", Frame("JavaThread::run", "libjvm.so", None, "runtime")),
        ("strlen (/lib/ld-musl-x86_64.so.1)", Frame("strlen", "ld-musl-x86_64.so.1", None, "runtime")),
        ("[unknown] (/tmp/perf-7.map)", Frame("unnamed code made at run time", None, None, "app")),
        ("JS:*spin [eval]:1:14 (/tmp/perf-7.map)", Frame("spin", "[eval]", 1, "app")),
        ("LazyCompile:~go /a/b.js:12:3 (/tmp/perf-7.map)", Frame("go", "/a/b.js", 12, "app")),
        ("JS:^ file:///a/b.mjs:12:3 (/tmp/perf-7.map)", Frame("(anonymous)", "/a/b.mjs", 12, "app")),
        ("JS:~emit node:events:465:44 (/tmp/perf-7.map)", Frame("emit", "node:events", 465, "runtime")),
        ("py::work:/srv/jobs.py (/tmp/perf-7.map)", Frame("work", "/srv/jobs.py", None, "app")),
        ("Lorg/acme/Pricer;::price (/tmp/perf-7.map)", Frame("Lorg/acme/Pricer;::price", None, None, "app")),
    ],
)
def test_whose_code_it_is(line, frame):
    assert read(script((line,)))[7].frames == (frame,)


@pytest.mark.parametrize(
    ("symbol", "origin"),
    [
        ("main.spinHere", "app"),
        ("github.com/acme/shop/price.(*Table).Sum", "app"),
        ("golang.org/x/net/http2.(*Framer).ReadFrame", "library"),
        ("encoding/json.(*decodeState).object", "runtime"),
        ("strings.Index", "runtime"),
        ("runtime.mallocgc", "runtime"),
        ("compute_in_c", "app"),
    ],
)
def test_whose_code_it_is_in_go(symbol, origin):
    stack = (f"{symbol} (/srv/shop)", "runtime.goexit.abi0 (/srv/shop)")
    assert read(script(stack))[7].frames[0].origin == origin


def test_code_without_names_stands_once():
    nameless = "[unknown] (/x/libz.so.1)"
    sampled = read(script((nameless, nameless, "[unknown] ([unknown])", "spin (/srv/app)", "[unknown] ([unknown])")))[7]
    assert [frame.function for frame in sampled.frames] == ["unnamed function", "spin"]


# ── perf itself ──────────────────────────────────────────────────────────────────────────────────

needs_perf = pytest.mark.usefixtures("perf")


def folders() -> set[str]:
    return {path.name for path in Path("/tmp").iterdir() if path.name.startswith(("opsdoc-perf-", "perf-vdso.so-"))}


@needs_perf
def test_a_hot_function_is_named_and_nothing_is_left(start, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    program = start(native.spin)
    sampled = read(PerfSamples((program.pid,), 0.5).answer(live()))[program.pid]
    assert native.HOT_FUNCTION in [frame.function for frame in sampled.frames]
    assert sampled.agreement.seen > sampled.agreement.of * 0.8
    assert list(tmp_path.iterdir()) == []
    assert programs.state(program.pid) in "RS"


@needs_perf
def test_kernel_time_by_system_call(start):
    program = start(native.copying)
    sampled = read(PerfSamples((program.pid,), 0.5).answer(live()))[program.pid]
    if isinstance(sampled.kernel, Unknown):
        pytest.skip(sampled.kernel.reason)
    assert sampled.kernel.seen > 0
    assert {name for name, _ in sampled.syscalls[:2]} <= {"read", "write", "interrupt"}


@needs_perf
def test_threads_that_are_gone_are_left_out(start):
    program, other = start(native.spin), start(native.spin)
    other.stop()
    sampled = read(PerfSamples((other.pid, program.pid), 0.4).answer(live()))
    assert list(sampled) == [program.pid]
    program.stop()
    with pytest.raises(Unreachable):
        PerfSamples((program.pid,), 0.4).answer(live())


@needs_perf
def test_an_interrupt_leaves_nothing(start, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    program = start(native.spin)
    stopped = live()
    ends: list[BaseException] = []

    def ask() -> None:
        try:
            PerfSamples((program.pid,), 4.0).answer(stopped)
        except BaseException as error:  # noqa: BLE001
            ends.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    programs.wait_until(lambda: list(tmp_path.glob("opsdoc-perf-*/perf.data")), "perf to begin")
    stopped.stop()
    asking.join(5)
    assert [type(error) for error in ends] in ([Interrupted], [TimedOut])
    assert list(tmp_path.iterdir()) == []


def fake_perf(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    program = folder / "perf"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


PARANOID = """\
Error:
Access to performance monitoring and observability operations is limited.
Consider adjusting /proc/sys/kernel/perf_event_paranoid setting to open
perf_event_paranoid setting is 4:"""


@pytest.mark.parametrize(
    ("said", "error", "words"),
    [
        (PARANOID, Denied, "may not sample"),
        ("The sys_perf_event_open() syscall returned with 1 (Operation not permitted)", Denied, "may not sample"),
        ("WARNING: perf not found for kernel 6.8.0-45", Unsupported, "perf not found for kernel"),
        ("", Unsupported, "no reason given"),
    ],
)
def test_what_perf_says_becomes_a_reason_and_a_hint(said, error, words, tmp_path, monkeypatch):
    fake_perf(tmp_path, monkeypatch, f"cat >&2 <<'END'\n{said}\nEND\nexit 255")
    with pytest.raises(error, match=words) as raised:
        PerfSamples((os.getpid(),), 0.3).answer(live())
    if error is Denied:
        hint = raised.value.hint
        assert "CAP_PERFMON" in hint if os.geteuid() == 0 else hint.startswith("sudo ")


def test_an_old_perf_without_the_option(tmp_path, monkeypatch):
    answer = (
        'case "$*" in *no-bpf-event*) echo "Error: unknown option \\`no-bpf-event\'" >&2; exit 129;; '
        'script*) printf "7\\n\\t12 spin (/a)\\n\\n";; esac'
    )
    fake_perf(tmp_path, monkeypatch, answer)
    assert list(read(PerfSamples((os.getpid(),), 0.3).answer(live()))) == [7]


def test_perf_reads_nobodys_settings_and_asks_no_server(tmp_path, monkeypatch):
    monkeypatch.setenv("DEBUGINFOD_URLS", "https://debuginfod.example")
    fake_perf(tmp_path, monkeypatch, 'echo "$1 [$DEBUGINFOD_URLS] $PERF_CONFIG $(pwd)" >> "$0.log"')
    assert PerfSamples((os.getpid(),), 0.3).answer(live()) == b""
    first, second = (tmp_path / "perf.log").read_text().splitlines()
    assert first.startswith("record [] /dev/null ")
    assert second.startswith("script [] /dev/null ")
    assert "/opsdoc-perf-" in first


def test_no_perf_is_told_with_what_would_install_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unsupported, match="perf is not installed") as raised:
        PerfSamples((os.getpid(),), 0.3).answer(live())
    assert "linux-perf" in raised.value.hint


def test_ids_of_another_view_are_not_sampled(tmp_path):
    with pytest.raises(Unsupported):
        PerfSamples((1,), 1.0).answer(Live(deadline=time.monotonic() + 9, redactor=Redactor(), proc=tmp_path))


def test_no_time_left():
    with pytest.raises(TimedOut):
        PerfSamples((os.getpid(),), 1.0).answer(live(0.5))


def test_fewer_samples_of_many_threads():
    few, many = (record_argv(tuple(range(1, number + 1)), 1.0, Path("f")) for number in (4, 5))
    assert few[few.index("-F") + 1] == "99"
    assert many[many.index("-F") + 1] == "49"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize(("owner", "link", "trusted"), [(0, False, True), (65534, False, False), (0, True, False)])
def test_a_map_of_run_time_code_is_only_trusted_if_it_is_the_targets(start, owner, link, trusted, tmp_path):
    program = start(native.run, *native.LOOPS["perl"])
    path = Path(f"/tmp/perf-{program.pid}.map")
    try:
        if link:
            path.symlink_to(tmp_path / "elsewhere")
        else:
            path.write_text("1000 10 spin\n")
            os.chown(path, owner, owner)
        assert perf._trusted_maps((program.pid,), live()) is trusted
    finally:
        path.unlink()
    assert not perf._trusted_maps((program.pid,), live())
