"""A clock that a test moves, so that nothing must be timed."""

from collections.abc import Callable
from types import ModuleType, SimpleNamespace

import pytest


class Clock:
    """Stands still until `hurry` says true; from then on ten minutes pass between two looks at it."""

    def __init__(self, hurry: Callable[[], bool]) -> None:
        self.now = 0.0
        self._hurry = hurry

    def monotonic(self) -> float:
        if self._hurry():
            self.now += 600.0
        return self.now

    def put_into(self, module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        """`module` reads its time here."""
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=self.monotonic))
