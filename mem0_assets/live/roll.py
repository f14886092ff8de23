"""The roll of a collection: each memory's id, a digest of what it says, and when mem0 says that it last touched it.

Two rolls, of two backups, show which memories changed without a word from mem0: SQL, a script, half a restore, a flipped
bit on the disk. No count of rows shows that, and a text that was changed together with its hash shows nowhere else.

The server makes the digests: a payload never leaves it, and no vector is read. At 100,000 memories it takes 0.3 s.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from struct import Struct
from typing import LiteralString

from psycopg import sql

from mem0_assets.live.postgres import SCHEMA, Connection

# Grows with every change of what is digested: two rolls of different recipes say nothing about each other.
RECIPE = 1

# id, digest, and the last touch in milliseconds since 1970, the highest byte first. Of four thousand million memories
# that changed one keeps its digest. A time to the second would not tell an update from an addition just before it.
RECORD = Struct("16s4s6s")
Record = tuple[bytes, bytes, bytes]
_TIME_BYTES = 6
# The touch of a memory that says no time which can be read.
NEVER = bytes(_TIME_BYTES)

# What the server sends: id and digest, and the time as it is written (32 characters; somebody's metadata may have any
# number), padded. A thousand memories in one row: row by row it took three times as long to take them in.
_SENT = Struct("20s40s")
_ROWS = 1000

# Not digested are `updated_at`, which says that mem0 touched a memory, and `text_lemmatized`, which mem0 makes of the
# text: a newer version may make it anew for all memories at once. The hash is the one that PostgreSQL places rows in hash
# partitions by, so it stays as it is from version to version; md5 of the payload as text takes half as long again.
_QUERY: LiteralString = """
    COPY (
        SELECT string_agg(uuid_send(id) || digest || touched, ''::bytea ORDER BY id, digest)
          FROM (SELECT *, row_number() OVER (ORDER BY id, digest) / {rows} AS block
                  FROM (SELECT coalesce(id, '00000000-0000-0000-0000-000000000000') AS id,
                               substr(int8send(coalesce(jsonb_hash_extended(
                                   CASE jsonb_typeof(payload::jsonb)
                                   WHEN 'object' THEN payload::jsonb - '{{updated_at,text_lemmatized}}'::text[]
                                   ELSE payload::jsonb END, 0), 0)), 5) AS digest,
                               substr(textsend(left(coalesce(payload->>'updated_at', payload->>'created_at', ''), {time}))
                                      || decode(repeat('20', {time}), 'hex'), 1, {time}) AS touched
                          FROM {table} OFFSET 0) AS memories) AS memories
         GROUP BY block ORDER BY block
    ) TO STDOUT (FORMAT binary)
"""


def read_roll(connection: Connection, collection: str) -> Iterator[bytes]:
    """The records of all memories, ordered by id, in blocks, inside the caller's `snapshot`.

    Raises what psycopg raises. The ids must be of the type uuid, as in every version of mem0.
    """
    query = sql.SQL(_QUERY).format(
        table=sql.Identifier(SCHEMA, collection), rows=sql.Literal(_ROWS), time=sql.Literal(_SENT.size - 20)
    )
    with connection.cursor() as cursor, cursor.copy(query) as copy:
        copy.set_types(("bytea",))
        for (block,) in copy.rows():
            yield b"".join(said + _touch(time) for said, time in _SENT.iter_unpack(block))


def milliseconds(touch: bytes) -> int:
    """When a record says that its memory was touched: milliseconds since 1970; 0 where it does not say."""
    return int.from_bytes(touch, "big")


def _touch(time: bytes) -> bytes:
    """An ISO 8601 time as it stands in a record; NEVER where it is none. One without an offset is taken for UTC."""
    try:
        moment = datetime.fromisoformat(time.decode("ascii").rstrip())
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return int(moment.timestamp() * 1000).to_bytes(_TIME_BYTES, "big")
    except (ValueError, OverflowError):
        return NEVER
