"""`python -m benchmarks.fuzz --seconds 600`: real dumps damaged at random for a given time, and what the validator says.

A crash, a hang, and a damaged dump that is called ok though a checksum stands in it are findings: they are printed with
what makes them again, their files are kept, and the exit status is 1. In plain text a changed letter or a vanished line
cannot be seen by anybody: such cases are only counted.
"""

import argparse
import gzip
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from types import FrameType

import zstandard

from mem0_assets.backups.formats.container import open_dump
from mem0_assets.backups.formats.damage import DumpDamage
from mem0_assets.backups.formats.sql_reader import DumpContents, read_sql
from mem0_assets.live.programs import newest_program

CORPUS = Path(__file__).parent.parent / "mem0_assets_tests" / "backups" / "formats" / "corpus"
NAMESPACES = {"alice": 2, "bob/work": 2, "Zoë 🧠": 1, "(none)": 2}
CASE_SECONDS = 20
PATIENCE_SECONDS = 5
MOST_EDITS = 4
WORDS = [
    b"\\.\n",
    b"COPY public.memories (id, vector, payload) FROM stdin;\n",
    b"'",
    b"$$",
    b"--\n",
    b"/*",
    b"\n",
    b"\t",
]
WORDS += [b"INSERT INTO public.memories VALUES (", b"\\", b"\0", b"\xff", b"E'", b'"', b"\x1f\x8b", b"\x28\xb5\x2f\xfd"]
WORDS += [
    b"-- PostgreSQL database dump complete\n--\n",
    b"\\N",
    b"\\restrict x\n",
    b"\\connect y\n",
    b";",
    b"(",
    b")",
    b"PGDMP",
]
CHECKED = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor(write_checksum=True).compress}


class HangError(Exception):
    """A case took too long."""


def edit(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    """One random damage."""
    one, other = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    near = min(len(data), one + chance.randrange(1, 40))
    kind = chance.randrange(9)
    if kind == 0 and data:
        at = min(one, len(data) - 1)
        return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
    if kind == 1:
        return data[:one] + chance.choice(WORDS) + data[one:]
    if kind == 2:
        return data[:one] + data[near:]
    if kind == 3:
        return data[:one] + data[other:]
    if kind == 4:
        return data[:one] + data[one:other] * 2 + data[other:]
    if kind == 5:
        middle = (one + other) // 2
        return data[:one] + data[middle:other] + data[one:middle] + data[other:]
    if kind == 6:
        donor = chance.choice(others)
        begin = chance.randrange(len(donor))
        return data[:one] + donor[begin : begin + chance.randrange(1, 400)] + data[one:]
    if kind == 7:
        return data[:one] + chance.randbytes(near - one) + data[near:]
    return data[:one]


def damage(path: Path, chance: random.Random, others: list[bytes]) -> str:
    """Damage a dump in its place; what the damage cannot be hidden by: the checksum's name, or nothing."""
    checksum = ""
    if path.is_dir():
        path = chance.choice(sorted(path.iterdir()))
    elif path.suffix == ".sql" and chance.random() < 0.5:
        checksum = chance.choice(sorted(CHECKED))
        path.write_bytes(CHECKED[checksum](path.read_bytes()))
    elif path.suffix in (".gz", ".zst"):
        checksum = path.suffix
    data = path.read_bytes()
    for _ in range(chance.randrange(1, MOST_EDITS)):
        data = edit(data, chance, others)
    path.write_bytes(data)
    return checksum


def judge(path: Path, pg_restore: Path) -> DumpContents | None:
    """What the validator says; None where it could not even open the dump."""
    try:
        with open_dump(path, pg_restore=pg_restore, patience=PATIENCE_SECONDS) as dump:
            return read_sql(dump.blocks, collection=None)
    except DumpDamage:
        return None


def run_case(seed: int, dumps: list[Path], others: list[bytes], scratch: Path, pg_restore: Path) -> str:
    """Damage one dump and judge it; the outcome, which begins with "FOUND" where it must not be."""
    chance = random.Random(seed)
    source = chance.choice(dumps)
    target = scratch / source.name
    (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)
    checksum = damage(target, chance, others)
    signal.alarm(CASE_SECONDS)
    try:
        contents = judge(target, pg_restore)
    except HangError:
        return f"FOUND: {source.parent.name}/{source.name}, seed {seed}: it hangs"
    except Exception:  # noqa: BLE001 - any exception is what is looked for
        return f"FOUND: {source.parent.name}/{source.name}, seed {seed}:\n{traceback.format_exc()}"
    finally:
        signal.alarm(0)
    if contents is None or not contents.verdict.ok:
        return "refused"
    if contents.namespaces == NAMESPACES:
        return "ok with the true counts"
    if checksum:
        return (
            f"FOUND: {source.parent.name}/{source.name}, seed {seed}: ok in spite of {checksum}: {contents.namespaces}"
        )
    return f"ok with other counts, without a checksum, of {'a folder' if source.is_dir() else source.suffix}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    signal.signal(signal.SIGALRM, _hang)
    dumps = sorted(path for version in CORPUS.glob("pg*") for path in version.iterdir())
    others = [path.read_bytes() for path in CORPUS.glob("pg*/*.*") if path.is_file()]
    pg_restore = newest_program("pg_restore").path
    outcomes: Counter[str] = Counter()
    seed, until = arguments.seed, time.monotonic() + arguments.seconds
    kept = Path(tempfile.mkdtemp(prefix="mem0-assets-fuzz-"))
    while time.monotonic() < until:
        scratch = kept / str(seed)
        scratch.mkdir()
        outcome = run_case(seed, dumps, others, scratch, pg_restore)
        outcomes[outcome.partition(":")[0]] += 1
        if outcome.startswith("FOUND"):
            print(f"{outcome}\n  kept in {scratch}", flush=True)
        else:
            shutil.rmtree(scratch)
        seed += 1
    for outcome, times in outcomes.most_common():
        print(f"{times:8,}  {outcome}")
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10:8,}  MiB at most")
    if outcomes["FOUND"]:
        return 1
    kept.rmdir()
    return 0


def _hang(number: int, frame: FrameType | None) -> None:
    raise HangError


if __name__ == "__main__":
    sys.exit(main())
