"""The roll that a backup carries: written beside its dump, read back, and held against the last verified backup's.

Records (live/roll.py) of 26 bytes in the order of their ids, and nothing else: two rolls are compared by reading each once,
whatever their size. They are not compressed, as ids and digests are random: gzip saves 2 % of them. A restore needs no roll.
"""

import hashlib
from collections.abc import Collection, Generator, Iterator
from contextlib import closing
from pathlib import Path
from uuid import UUID

from mem0_assets.backups.files import HashedFile
from mem0_assets.backups.formats.damage import DumpDamage, damage
from mem0_assets.backups.formats.file_blocks import Digest, file_blocks
from mem0_assets.backups.inventory import Backup
from mem0_assets.backups.manifest import BackupFile, Changes
from mem0_assets.backups.stores import HISTORY
from mem0_assets.live.census import Census
from mem0_assets.live.history import read_events
from mem0_assets.live.identity import Identity
from mem0_assets.live.postgres import Connection
from mem0_assets.live.roll import RECIPE, RECORD, Record, milliseconds, read_roll
from mem0_assets.live.semantics import EXAMPLES, NIGHTLY, Bounds, Found, GivenUpError, bounded
from mem0_assets.verdicts import OK, Verdict, refused

ROLL = "roll/roll.bin"
# Of so many changed memories the ids are kept and looked for in the history; beyond them nothing is an accident.
MOST_CHANGED = 100_000
# A touch that lies before the last one by less than this may be another machine's, whose clock differs, or of a clock that
# was set. Half a restore goes back to an earlier backup: by hours.
CLOCKS_APART_MS = 5 * 60 * 1000


def write_roll(connection: Connection, census: Census, candidate: Path, bounds: Bounds = NIGHTLY) -> BackupFile:
    """Write the roll of the caller's snapshot, whose census this is; hashed and fsynced.

    Raises GivenUpError where that is beyond the bounds of a look into the rows, OSError, and what a lost connection raises;
    each leaves what was written of it.
    """
    if bounds.texts is not None and census.total > bounds.texts:
        raise GivenUpError(f"there are more than {bounds.texts:,} memories")
    path = candidate / ROLL
    path.parent.mkdir()
    with HashedFile(path) as file, bounded(connection, bounds.seconds, bounds):
        for block in read_roll(connection, census.collection):
            file.put(block)
    return BackupFile(ROLL, file.bytes, file.sha256, file.bytes)


def check_roll(path: Path, memories: int) -> Verdict:
    """`corrupt` or `truncated` where a file is not the roll of so many memories. Raises UnreachableError."""
    found, last = 0, b""
    try:
        with closing(_records(path)) as records:
            for memory, _, _ in records:
                if memory < last:
                    return refused("corrupt", "the roll is not in the order of its ids")
                found, last = found + 1, memory
    except DumpDamage as error:
        return refused(error.reason.code, f"the roll: {error.reason.message}")
    if found != memories:
        return refused("corrupt", f"the roll names {found} memories, and the manifest counted {memories}")
    return OK


def changes_since(previous: Backup | None, identity: Identity, candidate: Path, *, history: bool) -> Changes | None:
    """What has changed since the last verified backup, and no touch of mem0's explains; None where that has no roll of
    this very table. A candidate that has the `history` is asked for mem0's updates there too.

    Raises DumpDamage, NotFoundError, UnreachableError, HistoryDamagedError where a file is not to be read, DumpDamage also
    where the previous roll is not the file that was written.
    """
    before = previous.manifest if previous else None
    if before is None or previous is None or before.roll is None or before.roll.recipe != RECIPE:
        return None
    if identity.changes_from(before.census.identity):
        return None
    both, count, changed = _compare_files(previous, before.files_of("roll")[0], candidate / ROLL)
    if changed and history and before.history:
        updated = _updated(candidate / f"history/{HISTORY}", before.history.settled, changed)
        changed, count = [memory for memory in changed if memory not in updated], count - len(updated)
    return Changes(previous.backup, both, Found(count, tuple(changed[:EXAMPLES])))


def _compare_files(previous: Backup, file: BackupFile, roll: Path) -> tuple[int, int, list[str]]:
    digest = hashlib.sha256()
    with closing(_records(previous.path / file.path, digest)) as old, closing(_records(roll)) as new:
        found = _compare(old, new)
    if digest.hexdigest() != file.sha256:
        raise damage("checksum_mismatch", f"the roll of {previous.backup} is not the file that was written")
    return found


def _compare(old: Iterator[Record], new: Iterator[Record]) -> tuple[int, int, list[str]]:
    """How many memories stand in both rolls, how many of them changed without a touch, and the first of their ids."""
    both = count = 0
    changed: list[str] = []
    before, now = next(old, None), next(new, None)
    while before and now:
        if before == now:  # nearly all of them
            both += 1
            before, now = next(old, None), next(new, None)
        elif before[0] < now[0]:
            before = next(old, None)
        elif now[0] < before[0]:
            now = next(new, None)
        else:
            both += 1
            if before[1] != now[1] and not _touched(milliseconds(before[2]), milliseconds(now[2])):
                count += 1
                changed += [str(UUID(bytes=now[0]))] if count <= MOST_CHANGED else []
            before, now = next(old, None), next(new, None)
    for _ in old:  # to its end, for its checksum
        pass
    return both, count, changed


def _touched(before: int, now: int) -> bool:
    """Whether mem0 has touched a memory since: it writes the time with every update, and time goes on."""
    return now > before or 0 < before - now < CLOCKS_APART_MS


def _updated(history: Path, settled: int, wanted: Collection[str]) -> set[str]:
    """Those that the history has an update of, after the row that was the newest before the last backup's snapshot."""
    left = set(wanted)
    return {
        memory
        for event in read_events(history, after=settled)
        if event.event == "UPDATE" and (memory := _plain_id(event.memory_id)) in left
    }


def _plain_id(memory: str) -> str:
    """As PostgreSQL prints it: a caller of mem0 may have written it in capitals or in braces."""
    try:
        return str(UUID(memory))
    except ValueError:
        return memory


def _records(path: Path, digest: Digest | None = None) -> Generator[Record, None, None]:
    """The records of a roll's file, whose own bytes `digest` is given.

    Raises DumpDamage, NotFoundError, UnreachableError.
    """
    rest = b""
    with closing(file_blocks(path, digest)) as blocks:
        for block in blocks:
            rest += block
            whole = len(rest) - len(rest) % RECORD.size
            yield from RECORD.iter_unpack(rest[:whole])
            rest = rest[whole:]
    if rest:
        raise damage("truncated", "it ends inside a record")
