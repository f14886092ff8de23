"""Reads a file from disk in blocks."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

from mem0_assets.backups.formats.damage import damage
from mem0_assets.errors import NotFoundError, UnreachableError

_BLOCK_BYTES = 1 << 20


class Digest(Protocol):
    """Takes bytes, as the digests of hashlib do."""

    def update(self, data: bytes, /) -> object: ...


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A regular file, open for reading. Raises NotFoundError, UnreachableError, and DumpDamage where it is none."""
    try:
        if not path.is_file():
            if not path.exists():
                raise NotFoundError(f"{path} does not exist")
            raise damage("not_a_dump", f"{path} is not a regular file")
        file = path.open("rb", buffering=0)
    except OSError as error:
        raise _unreadable(path, error) from error
    with file:
        yield file


def file_blocks(path: Path, digest: Digest | None = None) -> Generator[bytes, None, None]:
    """The bytes of a file, which `digest` is given too. Raises as `opened` does."""
    with opened(path) as file:
        while block := _read(file, path):
            if digest is not None:
                digest.update(block)
            yield block


def _read(file: IO[bytes], path: Path) -> bytes:
    try:
        return file.read(_BLOCK_BYTES)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> UnreachableError:
    return UnreachableError(f"{path} cannot be read: {error.strerror}")
