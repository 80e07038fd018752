"""Start: the version at once, interrupts and broken pipes quietly, every error as one line with its exit code."""

from __future__ import annotations

import contextlib
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
    _open_missing_streams()
    argv = sys.argv[1:]
    exit_code = _tell_version() if argv[:1] in (["--version"], ["-V"]) else _run(argv)
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
        sys.exit(exit_code)
    _leave_broken_pipe()
    sys.exit(exit_code)


def _run(argv: Sequence[str]) -> int:
    from opsdoc.model import UsageError  # noqa: PLC0415 - after the handler above

    try:
        from opsdoc.commands import dispatch  # noqa: PLC0415

        return dispatch(argv)
    except UsageError as error:
        _complain(str(error))
        return BAD_USAGE
    except BrokenPipeError:
        _leave_broken_pipe()
        return 0
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else BUG
    except KeyboardInterrupt:
        return INTERRUPTED
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is our bug and a person must learn what to send
        return _bug(error)


def _tell_version() -> int:
    sys.stdout.write(f"opsdoc {__version__}\n")
    return 0


def _complain(text: str) -> None:
    """One line on stderr, masked, with nothing in it that a terminal would obey."""
    from opsdoc.redact import Redactor  # noqa: PLC0415 - an error can afford it
    from opsdoc.render.words import visible  # noqa: PLC0415

    line = visible(Redactor().text(" ".join(text.splitlines())))
    with contextlib.suppress(OSError):
        sys.stderr.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        sys.stderr.write(f"opsdoc: {line}\n")


def _bug(error: BaseException) -> int:
    import traceback  # noqa: PLC0415

    from opsdoc.redact import Redactor  # noqa: PLC0415
    from opsdoc.render.words import visible  # noqa: PLC0415

    _complain(
        f"a bug in opsdoc {__version__} ended it: {type(error).__name__}: {error}; please send the trace below and, "
        "if it happens again, the recording made by the same command with --record case.tar.gz"
    )
    trace = Redactor().text("".join(traceback.format_exception(error)))
    with contextlib.suppress(OSError):
        sys.stderr.write("\n".join(visible(line) for line in trace.splitlines()) + "\n")
    return BUG


def _open_missing_streams() -> None:
    """Give a process that was started without standard streams (`>&-`) harmless ones."""
    while (number := os.open(os.devnull, os.O_RDWR)) < 3:  # the lowest free number is taken first
        pass
    os.close(number)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - it lives as long as the process
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def _leave_broken_pipe() -> None:
    """Let the interpreter flush into nothing at its end instead of complaining."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


if __name__ == "__main__":
    main()
