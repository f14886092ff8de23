"""Whom a restored database belongs to, and what was granted and set on the live one: carried over, role by role.

A dump names no owners, and what is restored belongs to who restored it: mem0 could not read it. A backup may also come from
a neighbour with other roles. So everything is given to the owners that the live database has, and to nobody who is not
there: a role that is missing on a live server is not made up, it is told.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import LiteralString

import psycopg
from psycopg import sql

from mem0_assets.errors import RefusedError
from mem0_assets.live.postgres import Connection

_NOT_OURS = "n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'"
_OWNED: LiteralString = f"""
    WITH extension (class, object) AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e'),
    mine (kind, name, key, class, object) AS (
        SELECT 'SCHEMA', quote_ident(n.nspname), '', 'pg_namespace'::regclass, n.oid FROM pg_namespace n
         WHERE n.nspname <> 'public' AND {_NOT_OURS}
        UNION ALL
        SELECT CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'f' THEN 'FOREIGN TABLE'
                              WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
               format('%I.%I', n.nspname, c.relname), format('%I.%I', n.nspname, c.relname), 'pg_class'::regclass, c.oid
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND {_NOT_OURS}
           AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                              AND c.relkind = 'S' AND d.deptype IN ('a', 'i'))
        UNION ALL
        SELECT 'ROUTINE', p.oid::regprocedure::text, '', 'pg_proc'::regclass, p.oid
          FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE {_NOT_OURS}
        UNION ALL
        SELECT 'TYPE', t.oid::regtype::text, '', 'pg_type'::regclass, t.oid
          FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid
         WHERE (t.typtype IN ('e', 'd', 'r') OR c.relkind = 'c') AND {_NOT_OURS}
    )
    SELECT kind, name, key FROM mine WHERE (class, object) NOT IN (SELECT class, object FROM extension)
"""
_TABLE_OWNERS: LiteralString = f"""
    SELECT format('%I.%I', n.nspname, c.relname) AS name, pg_get_userbyid(c.relowner)::text AS owner
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND {_NOT_OURS}
"""
_TO = "CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END"
_OPTION = "CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END"
# Each row is a statement, as PostgreSQL itself writes the names in it.
_GRANTS: LiteralString = f"""
    SELECT 'REVOKE ALL ON SCHEMA public FROM PUBLIC' AS statement FROM pg_namespace WHERE nspname = 'public'
    UNION ALL
    SELECT format('GRANT %s ON SCHEMA %I TO %s%s', a.privilege_type, n.nspname, {_TO}, {_OPTION})
      FROM pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
     WHERE a.grantee <> n.nspowner AND {_NOT_OURS}
    UNION ALL
    SELECT format('GRANT %s ON %s %I.%I TO %s%s', a.privilege_type, CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
                  n.nspname, c.relname, {_TO}, {_OPTION})
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) a
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND a.grantee <> c.relowner AND {_NOT_OURS}
       AND NOT EXISTS (SELECT FROM pg_depend d
                        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    UNION ALL
    SELECT format('ALTER DEFAULT PRIVILEGES FOR ROLE %I %s GRANT %s ON %s TO %s%s', pg_get_userbyid(d.defaclrole),
                  CASE WHEN n.oid IS NULL THEN '' ELSE format('IN SCHEMA %I', n.nspname) END, a.privilege_type,
                  CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'ROUTINES'
                                       WHEN 'T' THEN 'TYPES' ELSE 'SCHEMAS' END, {_TO}, {_OPTION})
      FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace, aclexplode(d.defaclacl) a
"""
_DATABASE_GRANTS: LiteralString = f"""
    SELECT a.privilege_type AS privilege, {_TO} AS grantee, {_OPTION} AS option
      FROM pg_database d, aclexplode(d.datacl) a WHERE d.datname = %s AND a.grantee <> d.datdba
"""
_SETTINGS = """
    SELECT r.rolname::text AS role, split_part(setting, '=', 1) AS name,
           substr(setting, strpos(setting, '=') + 1) AS value
      FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase LEFT JOIN pg_roles r ON r.oid = s.setrole,
           unnest(s.setconfig) AS setting
     WHERE d.datname = %s AND (s.setrole = 0 OR r.oid IS NOT NULL)
"""


@dataclass(frozen=True)
class Ownership:
    """Who owns a database and its tables, by their names as SQL writes them, and the statements that grant the rest.

    `owner` is the database's, `default` is for what the live one does not have.
    """

    owner: str
    default: str
    tables: Mapping[str, str] = field(default_factory=dict)
    grants: tuple[str, ...] = ()


def existing_role(connection: Connection, *wanted: str | None) -> str:
    """The first of these roles that the server has; the role that asks, where it has none of them."""
    rows = connection.execute("SELECT rolname::text AS name FROM pg_roles").fetchall()
    there = {row["name"] for row in rows}
    return next((role for role in wanted if role and role in there), connection.info.user)


def owner_of(connection: Connection, database: str) -> str | None:
    """The owner of a database; None where it is not there."""
    query = "SELECT pg_get_userbyid(datdba)::text AS owner FROM pg_database WHERE datname = %s"
    row = connection.execute(query, (database,)).fetchone()
    return row["owner"] if row else None


def read_tables(connection: Connection, ownership: Ownership, collection: str) -> Ownership:
    """The same with what the live database (whose connection this is) says of its tables and grants."""
    tables = {row["name"]: row["owner"] for row in connection.execute(_TABLE_OWNERS).fetchall()}
    grants = tuple(row["statement"] for row in connection.execute(_GRANTS).fetchall())
    default = tables.get(sql.Identifier("public", collection).as_string(), ownership.default)
    return Ownership(ownership.owner, default, tables, grants)


def give(connection: Connection, ownership: Ownership) -> list[str]:
    """Give all of a restored database (whose connection this is) to its owners, with their grants; what did not go.

    Raises RefusedError where a table cannot go to whom the live one belongs: mem0 could read it, and not write to it.
    """
    notes = []
    for row in connection.execute(_OWNED).fetchall():
        owner = ownership.tables.get(row["key"], ownership.default)
        statement = sql.SQL("ALTER {} {} OWNER TO {}").format(
            sql.SQL(row["kind"]), sql.SQL(row["name"]), sql.Identifier(owner)
        )
        failed = _tried(connection, [statement])
        if failed and row["key"] in ownership.tables:
            me = sql.Identifier(connection.info.user).as_string()
            raise RefusedError(
                f"{row['name']} cannot be given to {owner}, to whom the live one belongs",
                code="no_right",
                next_step=f"As a superuser: GRANT {sql.Identifier(owner).as_string()} TO {me}",
            )
        notes += failed
    return [*notes, *_tried(connection, map(sql.SQL, ownership.grants))]


def carry_grants(connection: Connection, live: str, restored: str) -> list[str]:
    """What was granted on the live database itself, for the restored one; what did not go, as sentences."""
    database = sql.Identifier(restored)
    grants = connection.execute(_DATABASE_GRANTS, (live,)).fetchall()
    statements = [sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database)] if grants else []
    for row in grants:
        grant = sql.SQL("GRANT {} ON DATABASE {} TO {}{}")
        words = (sql.SQL(row["privilege"]), database, sql.SQL(row["grantee"]), sql.SQL(row["option"]))
        statements.append(grant.format(*words))
    return _tried(connection, statements)


def carry_settings(connection: Connection, live: str, restored: str) -> list[str]:
    """What was set on the live database itself, for the restored one; what did not go, as sentences.

    Only when all is loaded and verified: `default_transaction_read_only` is a good way to keep mem0 from writing.
    """
    database, notes = sql.Identifier(restored), list[str]()
    for row in connection.execute(_SETTINGS, (live,)).fetchall():
        notes += _set(connection, database, row["role"], row["name"], row["value"])
    return notes


def _set(connection: Connection, database: sql.Identifier, role: str | None, name: str, value: str) -> list[str]:
    """FROM CURRENT: PostgreSQL writes the value as it keeps it, and no text of a setting is ever run as SQL."""
    whose = sql.SQL("ROLE {} IN DATABASE {}").format(sql.Identifier(role), database) if role else None
    whose = whose or sql.SQL("DATABASE {}").format(database)
    parameter = sql.SQL(".").join(map(sql.Identifier, name.split(".")))
    try:
        with connection.transaction():
            connection.execute("SELECT set_config(%s, %s, true)", (name, value))
            connection.execute(sql.SQL("ALTER {} SET {} FROM CURRENT").format(whose, parameter))
    except psycopg.Error as error:
        return [f"the setting {name} of the live database was not carried over: {error.diag.message_primary}"]
    return []


def _tried(connection: Connection, statements: Iterable[sql.SQL | sql.Composed]) -> list[str]:
    return list(_failures(connection, statements))


def _failures(connection: Connection, statements: Iterable[sql.SQL | sql.Composed]) -> Iterator[str]:
    for statement in statements:
        try:
            connection.execute(statement)
        except (psycopg.ProgrammingError, psycopg.NotSupportedError) as error:
            yield f"not carried over: {statement.as_string(connection)} ({error.diag.message_primary})"
