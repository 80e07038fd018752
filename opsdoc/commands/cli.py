"""Commands from options: typer splits the words, people read plain help, values stay text until values.py."""

from __future__ import annotations

import inspect
import shutil
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, Optional

import typer
from typer.core import TyperCommand

from opsdoc.options import Param, spelled

LOOK_AT, HOW_LONG, OUTPUT, VERDICT, EVIDENCE = "What to look at", "How long", "Output", "Verdict", "Evidence"
_GROUPS = (LOOK_AT, HOW_LONG, OUTPUT, VERDICT, EVIDENCE)
_TIED = "\xa0"  # a space at which no line is broken
HELP_OPTIONS = ["-h", "--help"]

Given = Mapping[str, Any]  # what was typed: None, text, a list of texts, or True


class Spec(NamedTuple):
    """What a person sees of a command, and what it does: `run` gets the words typed and returns the exit code."""

    name: str
    sentence: str
    example: str
    params: Sequence[Param]
    run: Callable[[Given], int]
    details: str = ""
    limits: Sequence[tuple[str, str]] = ()


def command_from(spec: Spec) -> TyperCommand:
    """The command as typer runs it."""

    def run(**given: Any) -> int:
        return spec.run(given)

    parameters = [_parameter(param) for param in spec.params]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(spec.name, cls=_Command, context_settings={"help_option_names": HELP_OPTIONS})(run)
    made: Any = typer.main.get_command(app)
    made.spec = spec
    return made  # type: ignore[no-any-return]


class _Command(TyperCommand):
    spec: Spec

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(help_of(self.spec, ctx.command_path, help_width()))

    def get_short_help_str(self, limit: int = 0) -> str:  # noqa: ARG002 - the base class's signature
        return self.spec.sentence


def _parameter(param: Param) -> inspect.Parameter:
    """An option as typer reads it from a signature. Defaults, conversion and requirement are ours: see values.py."""
    kind: Any = Optional[list[str]] if param.many else bool if is_switch(param) else Optional[str]  # noqa: UP045
    if param.opt.positional:
        info: Any = typer.Argument(metavar=param.metavar)
    else:
        info = typer.Option(*([param.opt.short] if param.opt.short else []), param.flag, metavar=param.metavar)
        if is_switch(param):
            info.metavar = None
    return inspect.Parameter(
        param.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=False if is_switch(param) else None,
        annotation=Annotated[kind, info],
    )


def is_switch(param: Param) -> bool:
    """Whether the option stands alone, without a value."""
    return param.type is bool and not param.opt.positional


# ── help ─────────────────────────────────────────────────────────────────────────────────────────


def help_width() -> int:
    """Columns for help: as wide as the terminal, but no wider than one reads well."""
    return max(50, min(shutil.get_terminal_size((80, 24)).columns, 100) - 1)


def help_of(spec: Spec, path: str, width: int) -> str:
    """One sentence, one real example, then the options grouped as people think."""
    positional = [p for p in spec.params if p.opt.positional]
    words = [f"{p.metavar}{' …' if p.many else ''}" for p in positional]
    usage = " ".join([path, *(w if p.required else f"[{w}]" for p, w in zip(positional, words, strict=True))])
    parts = [filled(spec.sentence, width), f"  {spec.example}"]
    if spec.details:
        parts.append("\n\n".join(filled(part, width) for part in spec.details.split("\n\n")))
    parts.append(f"Usage: {usage} [OPTIONS]")
    named = {p.opt.group for p in spec.params}
    for group in [g for g in _GROUPS if g in named] + sorted(named - set(_GROUPS)):
        rows = [(_shown(p), _told(p)) for p in spec.params if p.opt.group == group]
        parts.append(f"{group}:\n" + listed(rows, width))
    if spec.limits:
        parts.append("Limits, as they are unless told otherwise:\n" + listed(spec.limits, width))
    return "\n\n".join(parts) + "\n"


def filled(text: str, width: int) -> str:
    """A paragraph in lines of a width; words such as `py-spy` are not broken."""
    return "\n".join(_wrapped(text, width))


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False)


def listed(rows: Sequence[tuple[str, str]], width: int) -> str:
    """Two columns; a first column too long for its place stands on a line of its own."""
    place = min(max(len(left) for left, _ in rows), 28) + 4
    lines = []
    for left, right in rows:
        told = [line.replace(_TIED, " ") for line in _wrapped(right, width - place)] or [""]
        if len(left) + 4 > place:
            lines.append(f"  {left}")
        else:
            told[0] = f"  {left:<{place - 2}}{told[0]}"
        indented = [line if line.startswith("  ") else " " * place + line for line in told]
        lines += indented
    return "\n".join(line.rstrip() for line in lines)


def _shown(param: Param) -> str:
    if param.opt.positional:
        return param.metavar
    flag = f"{param.opt.short}, {param.flag}" if param.opt.short else f"    {param.flag}"
    return flag if is_switch(param) else f"{flag} {param.metavar}"


def _told(param: Param) -> str:
    notes = ["repeatable"] if param.many else []
    if param.default not in (None, False, True, [], ()):
        notes.append(f"default{_TIED}{spelled(param.default)}")
    return f"{param.opt.help} ({', '.join(notes)})" if notes else param.opt.help
