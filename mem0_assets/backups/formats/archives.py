"""Reads pg_dump's own archives, in custom and in directory format, as the SQL text that pg_restore makes of them.

pg_restore is asked because it is what will restore them; what it passes over in silence is looked at here as well.
"""

import os
import selectors
import subprocess
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import IO

from mem0_assets.backups.formats.archive_folder import check_folder
from mem0_assets.backups.formats.archive_toc import walk_archive
from mem0_assets.backups.formats.byte_source import ByteSource
from mem0_assets.backups.formats.damage import DumpDamage, damage
from mem0_assets.errors import UnreachableError

_BLOCK_BYTES = 1 << 20
_PROGRAM_TEXT_BYTES = 600


def custom_text(archive: ByteSource, pg_restore: Path | None, patience: float) -> Generator[bytes, None, None]:
    """The text of an archive in custom format. Raises DumpDamage."""
    with tempfile.TemporaryFile() as words:
        program = _start(pg_restore, [], words)
        assert program.stdin is not None
        feeder = _Feeder(walk_archive(archive), program.stdin)
        feeder.start()
        try:
            yield from _output_of(program, feeder.standstill, patience)
            status = program.wait()
            feeder.join()
        finally:
            _end(program)
            feeder.give_up()
        _judge(status, words, feeder.error)


def folder_text(folder: Path, pg_restore: Path | None, patience: float) -> Generator[bytes, None, None]:
    """The text of an archive in directory format. Raises DumpDamage."""
    check_folder(folder)
    with tempfile.TemporaryFile() as words:
        program = _start(pg_restore, [str(folder.resolve())], words)
        try:
            yield from _output_of(program, lambda: 0, patience)
            status = program.wait()
        finally:
            _end(program)
        _judge(status, words, None)


class _Feeder(threading.Thread):
    """Writes an archive into pg_restore while its text is read, and keeps the damage that it met.

    pg_restore stops reading behind the last data that it wants; the rest of the archive is still walked to its end.
    """

    def __init__(self, archive: Generator[bytes, None, None], pipe: IO[bytes]) -> None:
        super().__init__(daemon=True)
        self._archive = archive
        self._pipe = pipe
        self._reading = True
        self._given_up = False
        self._written = 0
        self.error: DumpDamage | UnreachableError | None = None

    def standstill(self) -> int | None:
        """A number that changes while pg_restore takes bytes; None while it waits for the file, not for itself."""
        return None if self._reading and self.is_alive() else self._written

    def give_up(self) -> None:
        self._given_up = True
        self.join()

    def run(self) -> None:
        try:
            for block in self._archive:
                self._reading = False
                if self._given_up:
                    return
                self._write(block)
                self._reading = True
        except (DumpDamage, UnreachableError) as error:
            self.error = error
        finally:
            self._close()

    def _write(self, block: bytes) -> None:
        try:
            if not self._pipe.closed:
                self._pipe.write(block)
            self._written += len(block)
        except OSError:
            self._close()

    def _close(self) -> None:
        try:
            self._pipe.close()
        except OSError:
            return  # What it still held was for a pg_restore that has ended.


def _start(pg_restore: Path | None, arguments: list[str], words: IO[bytes]) -> "subprocess.Popen[bytes]":
    if pg_restore is None:
        raise damage("client_missing", "a pg_dump archive is read by pg_restore, and there is none here")
    try:
        return subprocess.Popen(
            [str(pg_restore), "--file=-", *arguments],
            stdin=subprocess.DEVNULL if arguments else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=words,
            env={**os.environ, "LC_ALL": "C"},
        )
    except OSError as error:
        raise damage("client_missing", f"{pg_restore} cannot be run: {error.strerror}") from error


def _end(program: "subprocess.Popen[bytes]") -> None:
    program.kill()  # Nothing happens to one that has ended by itself.
    program.wait()
    assert program.stdout is not None
    program.stdout.close()


def _output_of(
    program: "subprocess.Popen[bytes]", standstill: Callable[[], int | None], patience: float
) -> Iterator[bytes]:
    """What pg_restore writes; DumpDamage where it does nothing for `patience` seconds though it has all it needs.

    Of 400 archives with one bit flipped, one made pg_restore 18 decompress for ever what is not compressed.
    """
    assert program.stdout is not None
    with selectors.DefaultSelector() as selector:  # select() itself knows no descriptor beyond 1,023
        selector.register(program.stdout, selectors.EVENT_READ)
        while True:
            before = standstill()
            if selector.select(patience):
                block = os.read(program.stdout.fileno(), _BLOCK_BYTES)
                if not block:
                    return
                yield block
            elif before is not None and before == standstill():
                what = f"pg_restore got lost in the archive: nothing came of it for {patience} seconds"
                raise damage("corrupt", what)


def _judge(status: int, words: IO[bytes], fed: DumpDamage | UnreachableError | None) -> None:
    if fed is not None:
        raise fed
    words.seek(0)
    said = " ".join(words.read(_PROGRAM_TEXT_BYTES).decode("utf-8", "replace").split())
    if "unsupported version" in said:
        raise damage("client_too_old", f"the archive was made by a newer pg_dump than this pg_restore: {said}")
    if "this build does not support compression" in said:
        raise damage("client_missing", f"the archive is compressed as this pg_restore cannot read it: {said}")
    if status != 0 or said:
        raise damage("corrupt", f"pg_restore could not read the archive: {said or f'it ended with status {status}'}")
