"""Refuses decompression bombs: a few bytes that become so many that reading them all would take days."""

from collections.abc import Generator, Iterable

from mem0_assets.backups.formats.damage import damage

# The most repetitive memories that can be made, one vector of 16,000 dimensions for all, come to 1,280 to 1 in zstd;
# rows that are all the same, to 11,000. gzip cannot reach more than 1,032, and costs a second per MB of bomb.
BOMB_RATIO = 4000
BOMB_BYTES = 1 << 30


def without_bomb(plain: Iterable[bytes], compressed_bytes: int) -> Generator[bytes, None, None]:
    """The plain bytes of a dump that takes so many bytes on disk, as they are; DumpDamage where it grows as none does."""
    size = 0
    for block in plain:
        size += len(block)
        if size > BOMB_BYTES and size > BOMB_RATIO * compressed_bytes:
            raise damage("corrupt", f"a decompression bomb: {compressed_bytes} bytes have become {size} and more")
        yield block
