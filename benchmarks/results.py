"""What was measured, as it lies in benchmarks/results: one JSON file per size, so that sizes may be measured apart.

Every ratio on the page is made within one group of one size: contenders that ran in turn, in one run, on one machine.
"""

import json
import statistics
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.data import Size

FOLDER = Path(__file__).parent / "results"
GUARDING = "guarding.json"

# What one run of a contender came to: `seconds` always; `bytes`, `readable`, ... where it has them.
Run = dict[str, float]


@dataclass(frozen=True)
class Measured:
    """All runs of one contender, or why it has none."""

    title: str
    runs: tuple[Run, ...] = ()
    error: str | None = None

    def values(self, figure: str) -> list[float]:
        return [run[figure] for run in self.runs if figure in run]

    def median(self, figure: str = "seconds") -> float | None:
        """The middle one of all runs; None where it did not run."""
        values = self.values(figure)
        return statistics.median(values) if values else None

    def largest(self, figure: str) -> float | None:
        return max(self.values(figure), default=None)


# Which contenders are held against each other: "backup", "verify", "restore", "index"; then by their keys.
Groups = dict[str, dict[str, Measured]]


@dataclass(frozen=True)
class Results:
    """One size's measurements, and on what they were made."""

    size: Size
    taken_at: str
    machine: dict[str, str]
    versions: dict[str, str]
    settings: dict[str, str]
    table_bytes: int
    groups: Groups = field(default_factory=dict)
    # Contenders that could not take part here, and why.
    missing: dict[str, str] = field(default_factory=dict)

    def of(self, group: str, key: str) -> Measured | None:
        """A contender's runs; None where it was not asked to run."""
        return self.groups.get(group, {}).get(key)

    def median(self, group: str, key: str, figure: str = "seconds") -> float | None:
        measured = self.of(group, key)
        return measured.median(figure) if measured else None

    def save(self, folder: Path) -> Path:
        """Into the size's file. Groups that it holds of another run on the same machine and versions stay."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.size.name}.json"
        old = load(path) if path.exists() else None
        kept = old.groups if old and (old.machine, old.versions) == (self.machine, self.versions) else {}
        path.write_text(
            json.dumps(asdict(replace(self, groups=kept | self.groups)), indent=1, ensure_ascii=False) + "\n"
        )
        return path


def load_all(folder: Path) -> dict[Size, Results]:
    """All that was measured, smallest first."""
    found = [load(path) for path in folder.glob("[0-9]*x[0-9]*.json")]
    return {results.size: results for results in sorted(found, key=lambda results: results.size)}


def load(path: Path) -> Results:
    """One size's results."""
    content: dict[str, Any] = json.loads(path.read_text())
    groups = {
        group: {key: Measured(one["title"], tuple(one["runs"]), one["error"]) for key, one in members.items()}
        for group, members in content["groups"].items()
    }
    return Results(**{**content, "size": Size(**content["size"]), "groups": groups})
