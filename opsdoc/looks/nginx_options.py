"""The options by which nginx and its logs are found, the same for every probe that reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from opsdoc.options import Duration, Opt

ConfFile = Annotated[Path | None, Opt("configuration: nginx.conf, or a saved nginx -T", metavar="FILE")]
MasterPid = Annotated[int | None, Opt("the master to look at, where several run", metavar="PID")]
AccessLogs = Annotated[list[Path], Opt("access log to read instead of those configured", metavar="FILE")]
FormatText = Annotated[str | None, Opt("log_format of the access log, where no configuration tells")]
Version = Annotated[str | None, Opt("version, where none runs here", metavar="X.Y.Z")]
Since = Annotated[Duration, Opt("how far back the logs are read", group="How long")]
MostLines = Annotated[int, Opt("most log lines to read; the oldest are left out", group="How long")]
MOST_LINES = 2_000_000
