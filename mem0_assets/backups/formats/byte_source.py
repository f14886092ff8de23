"""Bytes by number from blocks of any size: for formats that say how long their next piece is."""

from collections.abc import Generator, Iterable

from mem0_assets.backups.formats.damage import damage


class ByteSource:
    """Gives the bytes of `blocks` in pieces as they are asked for, and takes back what was taken too many."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._rest = b""
        self._at = 0

    def more(self) -> bytes:
        """The next bytes, at most a block; none at the end."""
        if self._at == len(self._rest):
            return next(self._blocks, b"")
        rest = self._rest[self._at :]
        self._rest, self._at = b"", 0
        return rest

    def some(self, size: int) -> bytes:
        """The next bytes, at least one and at most `size`. Raises DumpDamage `truncated` where there are none."""
        data = self.more()
        if not data:
            raise damage("truncated", "the file ends too early")
        if len(data) > size:
            self.give_back(data[size:])
        return data[:size]

    def give_back(self, data: bytes) -> None:
        self._rest, self._at = data + self._rest[self._at :], 0

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end, without taking them."""
        while len(self._rest) - self._at < size:
            block = next(self._blocks, b"")
            if not block:
                break
            self._rest, self._at = self._rest[self._at :] + block, 0
        return self._rest[self._at : self._at + size]

    def take(self, size: int) -> bytes:
        """Exactly `size` bytes. Raises DumpDamage `truncated` where the file ends before."""
        if len(self._rest) - self._at >= size:
            self._at += size
            return self._rest[self._at - size : self._at]
        parts, missing = [], size
        while missing:
            parts.append(self.some(missing))
            missing -= len(parts[-1])
        return b"".join(parts)

    def __iter__(self) -> Generator[bytes, None, None]:
        while block := self.more():
            yield block
