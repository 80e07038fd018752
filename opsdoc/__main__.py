"""Start: the version at once, interrupts and broken pipes quietly, every error as one line with its exit code."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from collections.abc import Sequence

from opsdoc import __version__

BAD_USAGE = 64
BUG = 70
INTERRUPTED = 130


def main() -> None:
    """The console script. Nothing heavy is imported before an interrupt ends quietly."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    gc.disable()  # a run is short and keeps what it makes: collections would cost a twentieth of its CPU
    _open_missing_streams()
    argv = sys.argv[1:]
    exit_code = _tell_version() if argv[:1] in (["--version"], ["-V"]) else _run(argv)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError as error:
        from opsdoc.files import abandon_stdout

        abandon_stdout()
        if not isinstance(error, BrokenPipeError):
            _complain(f"cannot write standard output: {error.strerror}")
            exit_code = BAD_USAGE
    os._exit(exit_code)  # the kernel frees all at once what the interpreter would take apart piece by piece


def _run(argv: Sequence[str]) -> int:
    from opsdoc.model import UsageError

    try:
        from opsdoc.commands import dispatch

        return dispatch(argv)
    except UsageError as error:
        _complain(str(error))
        return BAD_USAGE
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is our bug and a person must learn what to send
        return _bug(error)


def _tell_version() -> int:
    sys.stdout.write(f"opsdoc {__version__}\n")
    return 0


def _complain(text: str) -> None:
    """On stderr, each line as one of ours: a playbook may have several errors."""
    for line in text.splitlines():
        _tell(f"opsdoc: {_harmless(line)}\n")


def _bug(error: BaseException) -> int:
    import traceback

    what = " ".join(f"{type(error).__name__}: {error}".splitlines())
    _complain(
        f"a bug in opsdoc {__version__} ended it: {what}; please send the trace below and, if it happens again, "
        "the recording made by the same command with --record case.tar.gz"
    )
    trace = "".join(traceback.format_exception(error))
    _tell("".join(f"{_harmless(line)}\n" for line in trace.splitlines()))
    return BUG


def _harmless(text: str) -> str:
    """A line without secrets, and with nothing in it that a terminal would obey."""
    try:
        from opsdoc.redact import Redactor
        from opsdoc.render.words import visible

        return visible(Redactor().text(text))
    except Exception:  # noqa: BLE001 - the bug may be in there, and what cannot be masked must not be shown
        return "(withheld, because it could not be masked)"


def _tell(text: str) -> None:
    with contextlib.suppress(OSError):
        sys.stderr.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        sys.stderr.write(text)
        sys.stderr.flush()


def _open_missing_streams() -> None:
    """Give a process that was started without standard streams (`>&-`) harmless ones."""
    while (number := os.open(os.devnull, os.O_RDWR)) < 3:  # the lowest free number is taken first
        pass
    os.close(number)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - it lives as long as the process
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


if __name__ == "__main__":
    main()
