"""What the tests of backups share: a pg_dump that lies, and the promise that no failure costs a good backup."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mem0_assets.live.programs import find_program

PutPgDump = Callable[[str], None]


@pytest.fixture
def pg_dump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PutPgDump:
    """Puts a pg_dump first on PATH, whose body is the shell script given; "$REAL" is the real one."""
    real = find_program("pg_dump", 18).path

    def put(body: str) -> None:
        script = tmp_path / "bin" / "pg_dump"
        script.parent.mkdir(exist_ok=True)
        version = "if [ \"$1\" = --version ]; then echo 'pg_dump (PostgreSQL) 18.99'; exit; fi"
        script.write_text(f"#!/bin/sh\n{version}\nREAL='{real}'\n{body}\n")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")

    return put
