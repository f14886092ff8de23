"""RESTORE.md: how to bring this one backup back with stock programs and a shell, without this project.

Its commands are tested by running them as they stand. They restore beside the live database, never into it.
"""

from mem0_assets.backups.manifest import CHECKSUMS, Manifest
from mem0_assets.live.namespaces import NAMESPACE_SQL


def restore_instructions(manifest: Manifest) -> str:
    """The text of RESTORE.md for this backup, with its own file names, versions and expected counts."""
    census, identity = manifest.census, manifest.census.identity
    restored = f"{(identity.database or 'mem0')[:40]}_{manifest.backup}"
    expected = "\n".join(f"| {_cell(name)} | {count} |" for name, count in census.namespaces.items())
    return f"""# Restore the backup {manifest.backup} of {manifest.deployment}

It holds **{census.total} memories** of {identity.dimensions or "unknown"} dimensions in the table `{census.collection}`,
taken at {census.taken_at.isoformat()} from the database `{identity.database}` (PostgreSQL {identity.server_version},
pgvector {identity.pgvector_version}), by {manifest.program}.

You need `psql` and `createdb` of PostgreSQL {_major(identity.server_version)} or newer, and a server of at least that
version with pgvector. Run the commands in this folder, in bash. **Stop what writes to mem0 first** (its server and bots):
a mem0 that starts before the data are back creates empty tables in their place.

## 1. Say where the server is

Change these to yours; the password is asked for, or read from `PGPASSWORD`. With Docker: the server's published port.

```
export PGHOST=${{PGHOST:-127.0.0.1}} PGPORT=${{PGPORT:-5432}} PGUSER=${{PGUSER:-postgres}}
```

## 2. Check the files

```bash
sha256sum -c {CHECKSUMS}
```

## 3. Load into a new database, beside the one there is

Nothing that exists is touched. An error stops it and leaves an empty database behind: read it, `dropdb {restored}`, again.

```bash
set -euo pipefail
createdb --template=template0 --encoding=UTF8 {restored}
gunzip -c {manifest.dump.path} | psql -X -q -v ON_ERROR_STOP=1 --single-transaction -d {restored}
```

## 4. Compare with what it must hold

```bash
psql -X -d {restored} -c "SELECT {NAMESPACE_SQL} AS namespace, count(*) AS memories FROM public.\\"{census.collection}\\" GROUP BY 1 ORDER BY 2 DESC, 1"
```

| namespace | memories |
|---|---|
{expected}
| **total** | **{census.total}** |

## 5. Put it in the place of the old one

Only when the numbers agree, and with mem0 still stopped. The old database is kept under another name.

```
psql -X -d postgres -c 'ALTER DATABASE "{identity.database}" RENAME TO "{identity.database}_replaced"'
psql -X -d postgres -c 'ALTER DATABASE "{restored}" RENAME TO "{identity.database}"'
```

Then start mem0, and ask it for a memory of each namespace. Its embedder must give {identity.dimensions or "the same"}
dimensions, or it cannot search what came back.
"""


def _major(version: str | None) -> str:
    return (version or "the server's").split(".")[0]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
