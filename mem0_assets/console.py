"""How the command line speaks: tables and progress for people on a terminal, one JSON object for programs.

With `--json`, stdout holds one JSON object and nothing else; logs and progress go to stderr either way.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from mem0_assets.backups.formats.source import Progress as Count
from mem0_assets.backups.legacy import Tell
from mem0_assets.errors import Mem0AssetsError


class Speaker:
    """Says one command's result, as tables or as JSON."""

    def __init__(self) -> None:
        self.as_json = False
        self.out = Console(highlight=False, soft_wrap=True)
        self.err = Console(stderr=True, highlight=False, soft_wrap=True)

    def result(self, content: Mapping[str, Any]) -> None:
        """The JSON object; nothing for people."""
        if self.as_json:
            print(json.dumps(content, ensure_ascii=False))

    def line(self, text: str = "", style: str = "") -> None:
        """One line for people."""
        if not self.as_json:
            self.out.print(Text(text, style))

    def verdict(self, ok: bool, text: str) -> None:
        """One line for people that begins with what it comes to."""
        self.line(f"{'✔' if ok else '✘'} {text}", "bold green" if ok else "bold red")

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """A table for people; numbers are set right and grouped by thousands."""
        if self.as_json:
            return
        values = [[_shown(value) for value in row] for row in rows]
        numbers = [bool(values) and all(_numeric(row[n]) for row in values) for n in range(len(columns))]
        table = Table(title=Text(title, "bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for number, (name, numeric) in enumerate(zip(columns, numbers, strict=True)):
            fixed = numeric or number < 2  # an id or a number that is broken into two lines is not one any more
            table.add_column(name, justify="right" if numeric else "left", overflow="fold", no_wrap=fixed)
        for row in values:
            table.add_row(*(Text(value) for value in row))
        self.out.print(table)

    def error(self, error: Mem0AssetsError) -> None:
        """What went wrong and what to do next: on stderr for people; as JSON, with its code among the `reasons`."""
        if self.as_json:
            reason = {"code": error.code, "message": error.message}
            print(
                json.dumps({"error": {**reason, "next_step": error.next_step}, "reasons": [reason]}, ensure_ascii=False)
            )
            return
        self.err.print(Text(f"✘ {error.message} [{error.code}]", "bold red"))
        if error.next_step:
            self.err.print(Text(f"  {error.next_step}"))

    @contextmanager
    def working(self, what: str, *, expected_bytes: int | None = None) -> Iterator[tuple[Count, Tell]]:
        """A progress bar on stderr, where that is a terminal: the bytes so far, and what is being done."""
        columns = [
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TimeElapsedColumn(),
        ]
        if expected_bytes is None:
            columns = [SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()]
        with Progress(*columns, console=self.err, transient=True, disable=not self.err.is_terminal) as progress:
            task = progress.add_task(what, total=expected_bytes)
            yield (
                lambda plain_bytes: progress.update(task, completed=plain_bytes),
                lambda step: progress.update(task, description=f"{what}: {step}"),
            )


def in_mib(size: int) -> str:
    """A size for people."""
    return f"{size / (1 << 20):,.1f} MiB"


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _numeric(text: str) -> bool:
    return text == "-" or text.replace(",", "").isdigit()
