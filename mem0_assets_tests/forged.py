"""Backups made without a server: whole, verified by every rule, and as old, small or damaged as a test needs them."""

import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from mem0_assets.backups.files import link_tree, write_file, write_json
from mem0_assets.backups.instructions import restore_instructions
from mem0_assets.backups.inventory import ID_FORMAT
from mem0_assets.backups.manifest import CHECKSUMS, MANIFEST, RESTORE, BackupFile, Manifest, checksums
from mem0_assets.fleet import Deployment, Tier
from mem0_assets.live.census import Census
from mem0_assets.live.identity import Identity
from mem0_assets.live.indexes import Index
from mem0_assets.live.semantics import Semantics
from mem0_assets_tests.conftest import SMALL

IDENTITY = Identity("7700000000000000001", "mem0_prd", 16384, 16400, 3, "18.4", "0.8.5")


def forged_deployment(folder: Path, name: str = "prd", **settings: object) -> Deployment:
    """A deployment whose server nobody has: for what only the backups' folder is needed."""
    place = {"host": "127.0.0.1", "port": 1, "user": "nobody", "database": "mem0_prd"}
    raw = {"name": name, "backups": folder / "backups" / name, "postgres": place, **settings}
    return Deployment.model_validate(raw, context={"base": folder})


def dump_text(namespaces: Mapping[str, int] = SMALL, *, dimensions: int = 3, owner: str | None = None) -> bytes:
    """The text of a pg_dump of a collection with so many memories per namespace."""
    lines = ["--", "-- PostgreSQL database dump", "--", "", "-- Dumped from database version 18.4"]
    lines += ["-- Dumped by pg_dump version 18.4", "", "SET client_encoding = 'UTF8';", ""]
    lines += ["CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public;", ""]
    lines += [
        f"CREATE TABLE public.memories (id uuid NOT NULL, vector public.vector({dimensions}), payload jsonb);",
        "",
    ]
    lines += [f"ALTER TABLE public.memories OWNER TO {owner};"] if owner else []
    lines += ["COPY public.memories (id, vector, payload) FROM stdin;"]
    for number, (namespace, text) in enumerate(_memories(namespaces)):
        identifier = hashlib.md5(f"{namespace}/{number}".encode()).hexdigest()
        payload = {"data": text, "hash": hashlib.md5(text.encode()).hexdigest(), "user_id": namespace}
        vector = ",".join(str(number + part + 1) for part in range(dimensions))
        lines.append(f"{identifier}\t[{vector}]\t{json.dumps(payload)}")
    lines += ["\\.", "", "--", "-- PostgreSQL database dump complete", "--", ""]
    return "\n".join(lines).encode()


def _memories(namespaces: Mapping[str, int]) -> list[tuple[str, str]]:
    return [(name, f"memory {number} of {name}") for name, count in namespaces.items() for number in range(count)]


def forge(
    deployment: Deployment,
    backup: str,
    sequence: int,
    tiers: Sequence[Tier] = ("daily",),
    *,
    namespaces: Mapping[str, int] = SMALL,
    created_at: datetime | None = None,
    place: str | None = None,
    identity: Identity = IDENTITY,
) -> Path:
    """Write a whole backup into the folders of its `tiers` (or only into `place`, like `candidates`); the first of them."""
    folder = deployment.backups / (place or tiers[0]) / backup
    path = f"postgres/mem0_{backup}.sql.gz"
    (folder / "postgres").mkdir(parents=True)
    text = dump_text(namespaces, dimensions=identity.dimensions or 3)
    (folder / path).write_bytes(gzip.compress(text, 1, mtime=0))
    data = (folder / path).read_bytes()
    moment = created_at or datetime.strptime(backup, ID_FORMAT).replace(tzinfo=UTC)
    total = sum(namespaces.values())
    manifest = Manifest(
        backup=backup,
        deployment=deployment.name,
        sequence=sequence,
        tiers=tuple(tiers),
        created_at=moment,
        census=Census("memories", total, dict(namespaces), identity, moment),
        tables={"memories": total},
        indexes=(Index("memories_pkey", "btree"),),
        format="sql",
        program="pg_dump 18.4",
        seconds=0.1,
        files=(BackupFile(path, len(data), hashlib.sha256(data).hexdigest(), len(text)),),
        semantics=Semantics(total, total, total, {}, dict.fromkeys(("data", "hash", "user_id"), total), 0, {}, 0.1),
    )
    seal(folder, manifest)
    for tier in () if place else tiers[1:]:
        (deployment.backups / tier).mkdir(parents=True, exist_ok=True)
        link_tree(folder, deployment.backups / tier / backup)
    return folder


def seal(folder: Path, manifest: Manifest) -> None:
    """Write what vouches for a backup's dump, as `capture` does."""
    write_file(folder / RESTORE, restore_instructions(manifest))
    restore = hashlib.sha256((folder / RESTORE).read_bytes()).hexdigest()
    write_file(folder / CHECKSUMS, checksums({file.path: file.sha256 for file in manifest.files} | {RESTORE: restore}))
    write_json(folder / MANIFEST, manifest.as_json())


def claim(folder: Path, manifest: Manifest, **claims: object) -> Manifest:
    """Change what a backup's manifest claims, and nothing else: a lie."""
    census_claims = {name: claims.pop(name) for name in ("total", "namespaces", "identity") if name in claims}
    lie = replace(manifest, census=replace(manifest.census, **census_claims), **claims)  # type: ignore[arg-type]
    write_json(folder / MANIFEST, lie.as_json())
    return lie


def forge_legacy(deployment: Deployment, backup: str, content: bytes, tier: Tier = "daily") -> Path:
    """A folder as the scripts before this project left it: nothing but a dump."""
    dump = deployment.backups / tier / backup / "postgres" / f"mem0_{backup}.sql.gz"
    dump.parent.mkdir(parents=True)
    dump.write_bytes(content)
    return dump.parent.parent
