"""The roles of a server, without their passwords, as SQL that stock psql loads into any server without an error.

A dump of a database names no roles, and in a new server mem0 cannot read what belongs to a role that is not there.
pg_dumpall writes them, and its SQL stops at the first role that exists already, which the superuser always does; there
is no CREATE ROLE IF NOT EXISTS. So a role is made here where it is missing, and one that is there is left as it is, its
memberships and settings too: a loaded file can neither lock out nor demote who loads it, nor give back what was taken
away. Memberships come after all roles, and without GRANTED BY: a grantor who is not the new server's first superuser
would need the ADMIN option, and be refused. A setting that another machine cannot take (a locale that it has not) is a
warning: no message language may keep the memories from coming back.

No password is read (that would need a superuser), and no comment: people note passwords there.
"""

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg import sql
from psycopg.conninfo import make_conninfo

from mem0_assets.backups.files import HashedFile
from mem0_assets.backups.formats.pg_dump import CLUSTER_END_MARK, STALL_SECONDS, DumpFailedError, DumpProgram
from mem0_assets.backups.manifest import BackupFile
from mem0_assets.backups.secret_words import MASK, is_secret_name
from mem0_assets.live.programs import Program

ROLES = "roles.sql"

_HEAD = """--
-- The roles of a PostgreSQL server, without passwords. A role that exists already is left as it is.
-- Load it as a superuser:  psql -X -v ON_ERROR_STOP=1 -d postgres -f roles.sql
-- Then give each role that logs in its password again: ALTER ROLE ... PASSWORD, or psql's \\password
--
"""
_NAME = r'(?:"(?:[^"]|"")*"|[^\s";]+)'
_STRING = r"(?:E'(?:[^'\\]|\\.)*'|'[^']*')"  # a doubled quote reads as two strings side by side
# A backslash outside of quotes is a command to psql. Of those, pg_dumpall writes only these two.
_PIECE = re.compile(
    rf"""\s+|--[^\n]*|\\(?:un)?restrict\ [^\n]*|(?P<statement>(?:{_STRING}|"[^"]*"|[^;'"\\])++);""",
    re.DOTALL | re.VERBOSE,
)
_OF_ROLE = re.compile(rf"(?:CREATE|ALTER) ROLE (?P<name>{_NAME})(?P<rest>.*)", re.DOTALL)
_SETTING = re.compile(rf" SET (?P<name>{_NAME}) TO (?P<value>.*)", re.DOTALL)
# Which roles this file made: those that were there keep their settings and memberships, also those taken from them.
_MADE = "CREATE TEMPORARY TABLE IF NOT EXISTS made (role text);"
_IF_MISSING = "NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {role})"
_IF_MADE = "EXISTS (SELECT FROM pg_temp.made WHERE role = {role})"
_MEMBERSHIP = re.compile(rf"GRANT {_NAME} TO (?P<member>{_NAME}).*", re.DOTALL)
_GRANTOR = re.compile(rf" GRANTED BY {_NAME}$")
_CREATED = re.compile(rf'--[^\n]*|{_STRING}|CREATE ROLE (?P<name>{_NAME});|"[^"]*"', re.DOTALL)


@dataclass(frozen=True)
class Roles:
    """What was written: the file, the roles in it, which of them log in (and need their password set after a restore).

    `masked` names the settings (`role: setting`) whose values are secrets by their name, and are not in the file.
    """

    file: BackupFile
    names: tuple[str, ...]
    logins: tuple[str, ...]
    masked: tuple[str, ...]
    warnings: tuple[str, ...]


def write_roles(
    program: Program, settings: dict[str, Any], folder: Path, *, stall_seconds: float = STALL_SECONDS
) -> Roles:
    """Write the server's roles into `folder`/roles.sql, hashed and fsynced. Any role that may connect can do that.

    `program` is a pg_dumpall, `settings` are psycopg's keywords. Raises DumpFailedError, UnreachableError, OSError.
    """
    database = make_conninfo(dbname=settings["dbname"])
    arguments = ["--roles-only", "--no-role-passwords", "--no-comments", "--no-password", f"--database={database}"]
    dump = DumpProgram(program, settings, arguments, CLUSTER_END_MARK, stall_seconds=stall_seconds)
    with closing(iter(dump)) as blocks:
        script = _Script(b"".join(blocks).decode("utf-8", "surrogateescape"))
    content = script.text().encode("utf-8", "surrogateescape")
    with HashedFile(folder / ROLES) as file:
        file.put(content)
    written = BackupFile(f"{folder.name}/{ROLES}", file.bytes, file.sha256, file.bytes)
    return Roles(written, tuple(script.roles), tuple(script.logins), tuple(script.masked), dump.warnings)


def role_names(text: str) -> tuple[str, ...]:
    """The roles that a roles.sql makes, in its order."""
    return tuple(_unquoted(match["name"]) for match in _CREATED.finditer(text) if match["name"])


class _Script:
    """pg_dumpall's statements, put in order: what is set, what is said of each role, what comes after all roles."""

    def __init__(self, dumped: str) -> None:
        self.roles: dict[str, list[str]] = {}
        self.logins: list[str] = []
        self.masked: list[str] = []
        self._before: list[str] = []
        self._after: list[str] = []
        for statement in _statements(dumped):
            if match := _OF_ROLE.fullmatch(statement):
                self._add(_unquoted(match["name"]), statement, match["rest"])
            elif statement.startswith("SET "):
                self._before.append(statement)
            elif match := _MEMBERSHIP.fullmatch(_GRANTOR.sub("", statement)):
                self._after.append(_block(_unquoted(match["member"]), [match[0]], _IF_MADE))
            else:
                self._after.append(f"{statement};")

    def _add(self, name: str, statement: str, said: str) -> None:
        setting = _SETTING.fullmatch(said)
        if setting and is_secret_name(_unquoted(setting["name"])):
            self.masked.append(f"{name}: {_unquoted(setting['name'])}")
            statement = statement[: len(statement) - len(setting["value"])] + f"'{MASK}'"
        elif said.startswith(" WITH "):
            if " PASSWORD " in said:
                raise DumpFailedError("pg_dumpall wrote a password, and was told not to")
            if " LOGIN" in said:
                self.logins.append(name)
        if setting:
            self._after.append(_block(name, [statement], _IF_MADE, tolerant=True))
            statement = ""
        statements = self.roles.setdefault(name, [])
        statements += [statement] if statement else []

    def text(self) -> str:
        blocks = [_block(name, [*statements, _made(name)], _IF_MISSING) for name, statements in self.roles.items()]
        lines = [*(f"{statement};" for statement in self._before), _MADE, *blocks, *self._after]
        return _HEAD + "".join(f"{line}\n" for line in lines)


def _statements(dumped: str) -> Iterator[str]:
    position = 0
    while position < len(dumped):
        piece = _PIECE.match(dumped, position)
        if piece is None:
            raise DumpFailedError("pg_dumpall wrote something that is not a statement about roles")
        position = piece.end()
        if piece["statement"]:
            yield piece["statement"]


def _block(name: str, statements: list[str], condition: str, *, tolerant: bool = False) -> str:
    """The statements, run where `condition` holds of the role; where `tolerant`, what is refused is a warning only."""
    role = sql.Literal(name).as_string()
    body = "".join(f"    {statement};\n" for statement in statements)
    body = f"  IF {condition.format(role=role)} THEN\n{body}  END IF;\n"
    if tolerant:
        body += f"EXCEPTION WHEN OTHERS THEN\n  RAISE WARNING 'a setting of % is left out: %', {role}, SQLERRM;\n"
    tag = "roles"
    while f"${tag}$" in body:
        tag += "_"
    return f"\nDO ${tag}$ BEGIN\n{body}END ${tag}$;"


def _made(name: str) -> str:
    return f"INSERT INTO pg_temp.made VALUES ({sql.Literal(name).as_string()})"


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
