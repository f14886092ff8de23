"""RESTORE.md: how to bring this one backup back with stock programs and a shell, without this project.

Its commands are tested by running them as they stand. They restore beside the live database, never into it.
"""

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from psycopg import sql

from mem0_assets.backups.manifest import CHECKSUMS, BackupFile, Manifest
from mem0_assets.live.namespaces import NAMESPACE_SQL
from mem0_assets.live.postgres import SCHEMA

# PostgreSQL cuts a name beyond 63 bytes without an error.
_LONGEST_NAME = 63
_KEPT = "_replaced"


@dataclass(frozen=True)
class _Database:
    """One database of the backup: as it was called, and as it is called while it lies beside the one there is."""

    name: str
    backup: str
    owner: str | None
    files: Sequence[BackupFile]

    @property
    def restored(self) -> str:
        return plain_name(self.name, f"_{self.backup}")

    @property
    def kept(self) -> str:
        """What the one there is will be called when this one takes its place."""
        ending = f"{_KEPT}_{self.backup}"
        whole = self.name + ending
        return whole if len(whole.encode()) <= _LONGEST_NAME else plain_name(self.name, ending)


def restore_instructions(manifest: Manifest) -> str:
    """The text of RESTORE.md for this backup, with its own file names, versions and expected counts."""
    census, identity = manifest.census, manifest.census.identity
    memories = _Database(identity.database or "mem0", manifest.backup, manifest.owner, manifest.files_of("postgres"))
    databases = [memories]
    if manifest.application:
        files, owner = manifest.files_of("application"), manifest.application.owner
        databases.append(_Database(manifest.application.database, manifest.backup, owner, files))
    expected = "\n".join(f"| {_cell(name)} | {count} |" for name, count in census.namespaces.items())
    return f"""# Restore the backup {manifest.backup} of {manifest.deployment}

It holds **{census.total} memories** of {identity.dimensions or "unknown"} dimensions in the table `{census.collection}`,
taken at {census.taken_at.isoformat()} from the database `{memories.name}` (PostgreSQL {identity.server_version},
pgvector {identity.pgvector_version}), by {manifest.program}.
{_other_stores(manifest)}
You need {_needs(manifest)} of PostgreSQL {_major(identity.server_version)} or newer, and a server of at least that
version with pgvector. Run the commands in this folder, in bash. **Stop what writes to mem0 first** (its server and bots):
a mem0 that starts before the data are back creates empty tables in their place.

## 1. Say where the server is

Change these to yours; the user must be a superuser, as pgvector demands one. The password is asked for, or read from
`PGPASSWORD`. With Docker: the server's published port.

```
export PGHOST=${{PGHOST:-127.0.0.1}} PGPORT=${{PGPORT:-5432}} PGUSER=${{PGUSER:-postgres}}
```

## 2. Check the files

```bash
sha256sum -c {CHECKSUMS}
```

## 3. Load into a new database, beside the one there is

Nothing that exists is touched. An error stops it and leaves an unfinished database behind: read it, then
`{"; ".join(f"dropdb --if-exists {one.restored}" for one in databases)}`, and again.

```bash
(
set -euo pipefail
{_lines([*_load_roles(manifest), *map(_load, databases)])}
)
```

## 4. Compare with what it must hold

```bash
psql -X -v ON_ERROR_STOP=1 -d {memories.restored} <<'SQL'
{_count(census.collection)}
SQL
```

| namespace | memories |
|---|---|
{expected}
| **total** | **{census.total}** |

## 5. Put it in the place of the old one

Only when the numbers agree, and with mem0 still stopped. What was restored belongs to you; mem0 can read it only when it
belongs to mem0's own role again. What it replaces is kept under another name.

```
{_lines(map(_give, databases))}
psql -X -q -v ON_ERROR_STOP=1 --single-transaction -d template1 <<'SQL'
{_lines(map(_swap, databases))}
SQL
```

{_rest(manifest)}Then start mem0, and ask it for a memory of each namespace. Its embedder must give
{identity.dimensions or "the same"} dimensions, or it cannot search what came back.
"""


def _other_stores(manifest: Manifest) -> str:
    """What else is in the backup, and what is not: nobody should look for it when it is needed."""
    lines = []
    if manifest.application:
        lines.append(
            f"With it: the application database `{manifest.application.database}` (users, API keys, settings)."
        )
    if manifest.history:
        lines.append(f"With it: mem0's history of {manifest.history.copy.rows} events.")
    if manifest.left_out:
        lines.append(
            f"**Not in this backup:** {', '.join(manifest.left_out)} (not named under `stores` in fleet.yaml)."
        )
    return "\n" + _lines(lines) + "\n" if lines else ""


def _load_roles(manifest: Manifest) -> list[str]:
    return [f"psql -X -q -v ON_ERROR_STOP=1 -d postgres -f {file.path}" for file in manifest.files_of("roles")]


def _rest(manifest: Manifest) -> str:
    """What is no database: the history's place, passwords to set again, secrets to fill in."""
    parts = []
    for file in manifest.files_of("history"):
        parts.append(f"""Put mem0's history in its place too, where HISTORY_DB_PATH points (in mem0's own compose file
`./history/history.db`): move the one there is aside, then `cp {file.path}` there.
""")
    if manifest.roles:
        parts.append("""Roles came back without passwords: give mem0's role its own again (`ALTER ROLE ... PASSWORD`), or
a new one here and in `.env`.
""")
    for path, secrets in manifest.masked.items():
        parts.append(f"""`{path}` is kept without its secrets; fill in again: {", ".join(map(_cell, secrets))}.
""")
    return "\n".join([*parts, ""]) if parts else ""


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines)


def _load(database: _Database) -> str:
    """The commands that make a database and load its files, in their order: SQL as it is, rows by their statement."""
    psql = f"psql -X -q -v ON_ERROR_STOP=1 -d {database.restored}"
    lines = [f"createdb --template=template0 --encoding=UTF8 {database.restored}"]
    lines += ["export PGCLIENTENCODING=UTF8"] if any(file.statement for file in database.files) else []
    for file in database.files:
        load = f"--command={shlex.quote(file.statement)}" if file.statement else "--single-transaction"
        lines.append(f"{_unpack(file.path)} {shlex.quote(file.path)} | {psql} {load}")
    return _lines(lines)


def _swap(database: _Database) -> str:
    """SQL that puts a restored database into the place of the one there is."""
    away = f"ALTER DATABASE {_quoted(database.name)} RENAME TO {_quoted(database.kept)}"
    there = f"EXISTS (SELECT FROM pg_database WHERE datname = {sql.Literal(database.name).as_string()})"
    return f"""SELECT {sql.Literal(away).as_string()} WHERE {there} \\gexec
ALTER DATABASE {_quoted(database.restored)} RENAME TO {_quoted(database.name)};"""


def _unpack(path: str) -> str:
    return "zstd -dcq" if path.endswith(".zst") else "gunzip -c"


def _needs(manifest: Manifest) -> str:
    zstd = any(file.path.endswith(".zst") for file in manifest.files)
    return "`zstd`, and `psql` and `createdb`" if zstd else "`psql` and `createdb`"


def _count(collection: str) -> str:
    table = sql.Identifier(SCHEMA, collection).as_string()
    return f"SELECT {NAMESPACE_SQL} AS namespace, count(*) AS memories\n  FROM {table} GROUP BY 1 ORDER BY 2 DESC, 1;"


def _give(database: _Database) -> str:
    """Gives a database and its tables to its role. (REASSIGN OWNED cannot: the first superuser owns too much.)"""
    role = database.owner or "postgres"
    return f"""psql -X -v ON_ERROR_STOP=1 -d {database.restored} <<'SQL'
ALTER DATABASE {_quoted(database.restored)} OWNER TO {_quoted(role)};
SELECT format('ALTER TABLE %s OWNER TO %I', c.oid::regclass, {sql.Literal(role).as_string()})
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'v', 'm') AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
\\gexec
SQL"""


def plain_name(database: str, ending: str) -> str:
    """A name for a new database that needs no quotes in any shell, and is not cut."""
    return re.sub(r"[^A-Za-z0-9_]", "_", database)[: _LONGEST_NAME - len(ending)] + ending


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string()


def _major(version: str | None) -> str:
    return (version or "the server's").split(".")[0]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
