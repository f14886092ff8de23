"""The program of the server's own version where there is one, else the next newer one, never an older one."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from mem0_assets.live.programs import (
    ClientMissingError,
    ClientTooOldError,
    embedded,
    find_program,
    installed,
    newest_program,
)

NAME = "pg_parrot"  # a program that no package installs: only the test's own folders have it
Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a program that answers so to --version into a folder of its own, at the end of PATH."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")

    def install_program(answer: str, name: str = NAME, *, status: int = 0) -> Path:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        program = folder / name
        program.write_text(f"#!/bin/sh\nprintf '%b\\n' '{answer}'\nexit {status}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{os.environ['PATH']}:{folder}")
        return program

    return install_program


def test_the_servers_own_version_is_taken_wherever_it_is_on_the_path(install: Install) -> None:
    install("pg_parrot (PostgreSQL) 18.4")
    own = install("pg_parrot (PostgreSQL) 16.3 (Debian 16.3-1.pgdg120+1)")
    install("pg_parrot (PostgreSQL) 15.7")
    program = find_program(NAME, 16)
    assert (program.path, program.major, program.version) == (own, 16, "16.3")
    assert str(program) == "pg_parrot 16.3"


def test_without_the_own_version_the_next_newer_one_is_taken(install: Install) -> None:
    for version in ("15.7", "18.4", "17.5"):
        install(f"pg_parrot (PostgreSQL) {version}")
    assert find_program(NAME, 16).version == "17.5"


def test_of_two_of_one_version_the_first_on_the_path_is_taken(install: Install) -> None:
    first = install("pg_parrot (PostgreSQL) 17.5")
    install("pg_parrot (PostgreSQL) 17.6")
    assert find_program(NAME, 17).path == first


def test_an_older_version_is_never_taken(install: Install) -> None:
    install("pg_parrot (PostgreSQL) 15.7")
    install("pg_parrot (PostgreSQL) 16.3")
    with pytest.raises(ClientTooOldError) as caught:
        find_program(NAME, 17)
    assert caught.value.code == "client_too_old"
    assert "the server is PostgreSQL 17 and the newest pg_parrot here is 16, which cannot dump it" in str(caught.value)
    assert "postgresql-client-17" in str(caught.value)


def test_no_program_at_all_is_told_with_what_to_install(install: Install) -> None:
    with pytest.raises(ClientMissingError) as caught:
        find_program(NAME, 17)
    assert caught.value.code == "client_missing"
    assert "no pg_parrot is installed" in str(caught.value)
    assert "postgresql-client-17" in str(caught.value)
    with pytest.raises(ClientMissingError, match="no pg_parrot is installed"):
        newest_program(NAME)


def test_the_newest_program_is_the_newest(install: Install) -> None:
    for version in ("9.6.24", "17.5", "10.23", "16.3"):
        install(f"pg_parrot (PostgreSQL) {version}")
    assert newest_program(NAME).version == "17.5"


def test_a_version_before_its_release_counts_as_its_major_version(install: Install) -> None:
    install("pg_parrot (PostgreSQL) 19beta1")
    assert find_program(NAME, 19).version == "19beta1"


@pytest.mark.parametrize("answer", ["parrot 3.1", "", "pg_parrot (PostgreSQL) unknown", "\\0377\\0376"])
def test_what_does_not_answer_like_postgresql_is_none_of_its_programs(install: Install, answer: str) -> None:
    install(answer)
    right = install("pg_parrot (PostgreSQL) 17.5")
    assert [program.path for program in installed(NAME)] == [right]


def test_what_cannot_be_run_is_passed_over(install: Install, tmp_path: Path) -> None:
    install("pg_parrot (PostgreSQL) 17.5").chmod(stat.S_IRUSR)
    broken = install("pg_parrot (PostgreSQL) 17.5")
    broken.write_text("#!/nowhere/interpreter\n")
    right = install("pg_parrot (PostgreSQL) 18.0")
    assert [program.path for program in installed(NAME)] == [right]


def test_the_programs_of_both_embedded_versions_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert set(embedded()) >= {16, 18}
    for name in ("pg_dump", "pg_restore", "psql"):
        assert find_program(name, 18).major == 18
        assert find_program(name, 16).major == 16
        assert find_program(name, 17).major >= 17
        assert newest_program(name).major >= 18
