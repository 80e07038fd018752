"""The command line: probes as commands, found by their names; only the one that is run is imported."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from opsdoc import probes
from opsdoc.commands.cli import HELP_OPTIONS, filled, help_width, listed
from opsdoc.model import UsageError
from opsdoc.options import did_you_mean

SENTENCE = "Find out what is wrong with a production machine: from the symptom to the cause, with evidence."
EXAMPLE = "sudo opsdoc cpu -o report.html"
SETTINGS = (
    "Every option can stand in the environment, as in OPSDOC_TIMEOUT=60s; timeout, window, rows, color and limits also "
    "in ./opsdoc.yml, ~/.config/opsdoc/config.yml or /etc/opsdoc.yml. The nearest wins."
)
EXIT_CODES = "Exit code: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN; 64 bad usage, 70 a bug, 130 interrupted."

# In the order a person needs them. A probe that is not named here comes after the last that is.
_ORDER = (
    *("cpu", "top", "threads", "stack", "nginx", "mq", "cache", "db"),
    *("run", "playbook", "report", "doctor", "demo", "schema"),
)
_OWN = ("run", "playbook", "report", "demo", "schema")  # commands that are not probes: modules of this package


def dispatch(argv: Sequence[str]) -> int:
    """Run the command line and return its exit code. Raises UsageError."""
    try:
        result: Any = Commands(name="opsdoc").main(list(argv), prog_name="opsdoc", standalone_mode=False)
    except typer.Exit as stop:
        return stop.exit_code
    except typer.Abort:
        return 130
    except SystemExit:
        raise BrokenPipeError from None  # typer ends so, with 1, when nobody reads any more
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        raise UsageError(_one_line(error)) from None
    return result if isinstance(result, int) else 0


class Commands(TyperGroup):
    """A group whose commands are imported when they are run. `under` is the path of a group within: `mq`."""

    def __init__(self, *, name: str, under: str = "") -> None:
        super().__init__(
            name=name,
            rich_markup_mode=None,
            context_settings={"help_option_names": HELP_OPTIONS},
            subcommand_metavar="COMMAND …",
        )
        self.under = under

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the base class's signature
        own = () if self.under else _OWN
        found = {name.removeprefix(self.under).partition(".")[0] for name in self._probes()} | set(own)
        return sorted(found, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.list_commands(ctx):
            return None
        path = self.under + cmd_name
        if not self.under and cmd_name in _OWN:
            return importlib.import_module(f"{__name__}.{cmd_name}").command()
        if path in self._probes():
            from opsdoc.commands.probe import command_of

            return command_of(probes.load(path))
        return Commands(name=cmd_name, under=f"{path}.")

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        known = self.list_commands(ctx)
        if args[0] not in known:
            raise UsageError(f"no command '{args[0]}'{did_you_mean(args[0], known)}; see '{ctx.command_path} --help'")
        return args[0], self.get_command(ctx, args[0]), args[1:]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args:
            # An empty line must not pass for OK in a script.
            typer.echo(self.get_help(ctx), err=True)
            raise typer.Exit(64)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        rows = [(name, self.get_command(ctx, name).get_short_help_str()) for name in self.list_commands(ctx)]
        width = help_width()
        parts = [filled(self.get_short_help_str(), width), f"Usage: {ctx.command_path} COMMAND [OPTIONS]"]
        parts += ["Commands:\n" + listed(rows, width)]
        if not self.under:
            parts.insert(1, f"  {EXAMPLE}")
            more = f"'{ctx.command_path} COMMAND --help' explains a command, --version tells the version."
            parts += [filled(text, width) for text in (SETTINGS, EXIT_CODES, more)]
        formatter.write("\n\n".join(parts) + "\n")

    def get_short_help_str(self, limit: int = 0) -> str:  # noqa: ARG002 - the base class's signature
        if not self.under:
            return SENTENCE
        package = importlib.import_module(f"{probes.__name__}.{self.under.rstrip('.').replace('-', '_')}")
        return (package.__doc__ or "").partition("\n")[0]

    def _probes(self) -> list[str]:
        return [name for name in probes.names() if name.startswith(self.under)]


def _one_line(error: Any) -> str:
    """What typer says about the words of a command line, in our voice."""
    ctx = getattr(error, "ctx", None)
    see = f"; see '{ctx.command_path} --help'" if ctx else ""
    if (option := getattr(error, "option_name", None)) and hasattr(error, "possibilities"):
        command = ctx.command if ctx else None
        if isinstance(command, Commands):
            return f"no option '{option}' here: options stand after the command, as in 'opsdoc cpu --json'{see}"
        flags = [flag for param in getattr(command, "params", ()) for flag in param.opts if flag.startswith("--")]
        return f"no option '{option}'{did_you_mean(option, flags)}{see}"
    message: str = error.format_message().rstrip(".")
    if extra := re.fullmatch(r"Got unexpected extra argument\S* \((.*)\)", message):
        message = f"no place for '{extra[1]}'"
    return message[:1].lower() + message[1:] + see
