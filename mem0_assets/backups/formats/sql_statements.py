"""Follows the statements of a dump as psql would, and tallies its tables.

Only a handful matter: CREATE TABLE (columns), COPY and INSERT (rows), CREATE DATABASE and \\connect (which database),
SET of the two settings that change how strings are read, and the dump programs' own comments, which say where a dump
begins and that it came to its end. All other SQL is passed over; what is not SQL is damage.
"""

import re
from collections.abc import Iterable, Iterator, Sized

from mem0_assets.backups.formats.damage import DumpDamage, damage
from mem0_assets.backups.formats.dump_tables import Column, DumpTable, RowReader
from mem0_assets.backups.formats.memory_rows import SHAPE, string_value
from mem0_assets.backups.formats.sql_lexer import CLIENT_WORDS, SqlLexer, Token
from mem0_assets.live.memories import Memory, Selection
from mem0_assets.live.tables import plain_name
from mem0_assets.verdicts import Reason, ReasonCode

_SQL_COMMANDS = frozenset(
    b"abort alter analyze begin call checkpoint close cluster comment commit copy create deallocate declare delete"
    b" discard do drop end execute explain fetch grant import insert listen load lock merge move notify prepare"
    b" reassign refresh reindex release reset revoke rollback savepoint security select set show start table truncate"
    b" unlisten update vacuum values with".split()
)
_MODIFIERS = frozenset(b"or replace global local temporary temp unlogged foreign".split())
_ROUTINES = frozenset([b"function", b"procedure"])
_HOLDERS_OF_STATEMENTS = _ROUTINES | {b"rule"}
_TABLE_CONSTRAINTS = frozenset(b"constraint primary check unique foreign like".split())
# Python's names of the encodings that a server can have and in which a quote or a backslash is always itself.
_ENCODINGS = {
    **{"UTF8": "utf-8", "SQL_ASCII": "utf-8", "LATIN9": "iso8859-15", "KOI8R": "koi8-r", "KOI8U": "koi8-u"},
    **{f"LATIN{number}": f"latin{number}" for number in range(1, 6)},
    **{f"WIN{number}": f"cp{number}" for number in (866, 1250, 1251, 1252, 1253, 1254, 1255, 1256, 1257, 1258)},
    **{"EUC_JP": "euc_jp", "EUC_KR": "euc_kr", "EUC_CN": "gb2312"},
}

_DUMP_BEGINS = b"-- PostgreSQL database dump"
_DUMP_ENDS = b"-- PostgreSQL database dump complete"
_CLUSTER_BEGINS = b"-- PostgreSQL database cluster dump"
_CLUSTER_ENDS = b"-- PostgreSQL database cluster dump complete"
_RULE = b"--"
_NEXT_DATABASE = re.compile(rb'-- Database ".*" dump')
# Of a memory in INSERT form: its payload, or its vector, is the last value.
_ENDS_OF_ROW = (b"}');", b"]');")
_SERVER_VERSION = b"-- Dumped from database version "
_PROGRAM_VERSION = b"-- Dumped by pg_dump version "
_CONNECT_BY_KEYWORDS = re.compile(rb"dbname='((?:[^'\\]|\\.)*)'", re.DOTALL)

_ERROR_IN_DATA = re.compile(CLIENT_WORDS + rb"[^\t\n]{0,300}")
_ERROR_FOR_SQL = re.compile(
    CLIENT_WORDS
    + rb"|^(?:Error|error|ERROR|fatal|FATAL|docker|kubectl)\b.{0,40}:"
    + rb"|not a TTY|command not found|No such (?:file|container)"
)
_TEXT_OF_ERROR = 300
_NOT_A_DUMP = "the text has neither the header of a PostgreSQL dump nor any SQL statement"

_SEMICOLON, _COMMA, _POINT, _OPEN, _CLOSE = (Token("sign", sign) for sign in (b";", b",", b".", b"(", b")"))
_DEPTH = {b"(": 1, b"[": 1, b")": -1, b"]": -1}
# "vector" public . vector ( 1536 )
_TOKENS_OF_ENTRY = 8
_MOST_COLUMNS = 1600
# What pg_dump and pg_dumpall write: a database by its name, or by that one keyword. Four words name a user and a host, too,
# and a drill of such a dump would go on in another server.
_STAYS_ON_SERVER = re.compile(
    rb"""(?:-reuse-previous=on )?(?:"dbname='(?:[^'\\"]|\\.|"")*'"|dbname='(?:[^'\\]|\\.)*'|"(?:[^"=:]|"")*"|[^\s"'`=:]+)""",
    re.DOTALL,
)
_HARMLESS_COMMANDS = frozenset([b"\\encoding", b"\\set", b"\\unset", b"\\pset", b"\\echo", b"\\timing"])


# A table's place in a file: which dump of those joined in it, which database, which name.
Place = tuple[int, str | None, str]


class SqlStatements:
    """Reads a dump to its end with `memories`, which raises DumpDamage where it cannot be followed any further.

    It gives the memories of the table named `collection` that the `selection` takes; without one, none. What was found
    until there stands in `tables` (by section, database and name), `client_messages` (at most one reason,
    `dump_failed`), `sections_with_schema` (which of the dumps in the file have more than rows), `server_version`,
    `pg_dump_version` and `database` (connected to last, or to be created).
    """

    def __init__(
        self,
        blocks: Iterable[bytes],
        *,
        max_bytes: int,
        collection: str | None = None,
        selection: Selection | None = None,
    ) -> None:
        self._lexer = SqlLexer(blocks, max_bytes=max_bytes)
        self._collection = collection
        self._selection = selection
        self._known = False
        self._encoding = "utf-8"
        self._section = 0
        self._in_cluster = False
        self._restricted: bytes | None = None
        self._last_comment = b""
        self._ended_by = b""
        self._filled: DumpTable | None = None
        self.sections_with_schema: set[int] = set()
        self.tables: dict[Place, DumpTable] = {}
        self.client_messages: list[Reason] = []
        self.server_version: str | None = None
        self.pg_dump_version: str | None = None
        self.database: str | None = None

    @property
    def complete(self) -> bool:
        """Whether the dump program's own end marker was the last thing in the text so far."""
        return self._ended_by == (_CLUSTER_ENDS if self._in_cluster else _DUMP_ENDS) and self._restricted is None

    @property
    def read_bytes(self) -> int:
        """How many bytes of text came in so far."""
        return self._lexer.read_bytes

    def memories(self) -> Iterator[Memory]:
        """Read to the end. Raises DumpDamage."""
        self._lexer.skip_byte_order_mark()
        while (token := self._lexer.next()).kind != "end":
            if token.kind == "comment":
                self._comment(token.text)
                continue
            self._last_comment = b""
            if token.kind == "message":
                self._client_said(token.text)
            elif token.kind == "command":
                self._command(token.text)
            elif token != _SEMICOLON:
                yield from self._statement(token)
        if not self._known:
            raise damage("not_a_dump", _NOT_A_DUMP)

    def _comment(self, text: bytes) -> None:
        if text == _RULE and self._last_comment in (_DUMP_ENDS, _CLUSTER_ENDS):
            self._ended_by = self._last_comment
        elif text in (_DUMP_BEGINS, _CLUSTER_BEGINS):
            self._known = True
            self._ended_by = b""
            self._section += 1
            self._in_cluster |= text == _CLUSTER_BEGINS
        elif text.endswith(_ENDS_OF_ROW):
            raise damage(
                "corrupt", f"a row stands in a comment, as where a newline was lost, before {self._lexer.place}"
            )
        elif self._in_cluster and _NEXT_DATABASE.fullmatch(text):
            self._ended_by = b""
        elif text.startswith(_SERVER_VERSION):
            self.server_version = text.removeprefix(_SERVER_VERSION).decode("utf-8", "replace")
        elif text.startswith(_PROGRAM_VERSION):
            self.pg_dump_version = text.removeprefix(_PROGRAM_VERSION).decode("utf-8", "replace")
        self._last_comment = text

    def _client_said(self, line: bytes) -> None:
        text = line[:_TEXT_OF_ERROR].decode("utf-8", "replace").strip()
        if not self.client_messages:
            self.client_messages.append(
                Reason("dump_failed", f"in the dump stands what a program said when it was made: {text}")
            )

    def _refuse_after_end(self) -> None:
        if self._ended_by:
            self._ended_by = b""
            raise self._damage("corrupt", f"there is more after the dump's own end, before {self._lexer.place}")

    def _command(self, line: bytes) -> None:
        name, _, argument = line.partition(b" ")
        if name == b"\\unrestrict":
            if argument == self._restricted:
                self._restricted = None
            return
        self._refuse_after_end()
        if b"`" in argument or (name == b"\\connect" and not _STAYS_ON_SERVER.fullmatch(argument)):
            raise self._damage("corrupt", f"a command that would leave this server, before {self._lexer.place}")
        if name == b"\\restrict":
            self._restricted = argument
        elif name == b"\\connect":
            self.database = _connected_to(argument)
        elif name not in _HARMLESS_COMMANDS:
            raise self._damage("corrupt", f"a command that no dump holds, before {self._lexer.place}")

    def _statement(self, token: Token) -> Iterator[Memory]:
        self._refuse_after_end()
        command = token.text.lower() if token.kind == "word" else b""
        if command not in _SQL_COMMANDS:
            self._not_sql(token)
            return
        self._known = True
        if command == b"copy":
            yield from self._copy()
        elif command == b"insert":
            yield from self._insert()
        elif command == b"create":
            self._create()
        elif command == b"set":
            self._set()
        else:
            self._skip()

    def _not_sql(self, token: Token) -> None:
        place = self._lexer.place
        line = token.text + self._lexer.rest_of_line()
        if _ERROR_FOR_SQL.search(line):
            self._client_said(line)
        elif self._known:
            raise self._damage("corrupt", f"there is no SQL where a statement begins, near {place}")
        else:
            raise damage("not_a_dump", _NOT_A_DUMP)

    def _damage(self, code: ReasonCode, message: str) -> DumpDamage:
        """Damage of this kind; but a piece of SQL that makes no sense at the very end was cut."""
        if self._lexer.at_end():
            return damage("truncated", "the text ends inside a statement")
        return damage(code, message)

    def _next(self) -> Token:
        """The next token of a statement."""
        while True:
            token = self._lexer.next()
            if token.kind == "end":
                raise damage("truncated", "the text ends inside a statement")
            if token.kind == "command":
                raise damage("corrupt", f"a psql command inside a statement, before {self._lexer.place}")
            if token.kind == "message":
                self._client_said(token.text)
            elif token.kind != "comment":
                return token

    def _skip(self, what: bytes = b"") -> None:
        """Pass over the rest of a statement; `what` it creates: only some things hold statements of their own."""
        brackets = bodies = 0
        before = b""
        while True:
            kind, text = self._next()
            word = text.lower() if kind == "word" else b""
            if kind == "sign":
                if text == b"(":
                    brackets += 1
                elif text == b")":
                    brackets = max(0, brackets - 1)
                elif text == b";" and not brackets and not bodies:
                    return
            elif before == b"insert" and word == b"into" and what not in _HOLDERS_OF_STATEMENTS:
                raise damage("corrupt", f"a statement runs into the next one, before {self._lexer.place}")
            elif before == b"add" and word == b"constraint":
                self.sections_with_schema.add(self._section)
            elif what in _ROUTINES and not brackets:
                bodies = _depth_of_bodies(bodies, word)
            before = word

    def _set(self) -> None:
        setting, verb, value = self._next(), self._next(), self._next()
        for token in (value, verb, setting):
            self._lexer.give_back(token)
        self._skip()
        if setting.text.lower() == b"standard_conforming_strings":
            self._lexer.backslash_escapes = value.text.lower() == b"off"
        elif setting.text.lower() == b"client_encoding":
            name = value.text.decode("ascii", "replace").upper()
            if name not in _ENCODINGS:
                raise damage("wrong_content", f"the dump is in the encoding {name[:40]}, which cannot be read here")
            self._encoding = _ENCODINGS[name]

    def _name(self) -> str:
        """A table's or a database's name, with its schema where that is not public."""
        schema, name = "public", self._identifier(self._next())
        while (token := self._next()) == _POINT:
            schema, name = name, self._identifier(self._next())
        self._lexer.give_back(token)
        return plain_name((schema, name))

    def _identifier(self, token: Token) -> str:
        if token.kind == "word":
            return token.text.lower().decode("utf-8", "replace")
        if token.kind == "name":
            return token.text.replace(b'""', b'"').decode("utf-8", "replace")
        raise damage("corrupt", f"a statement without the name that it needs, before {self._lexer.place}")

    def _table(self, name: str) -> DumpTable:
        key = (self._section, self.database, name)
        if key not in self.tables:
            self.tables[key] = DumpTable(name, self.database)
        return self.tables[key]

    def _create(self) -> None:
        token = self._next()
        while token.kind == "word" and token.text.lower() in _MODIFIERS:
            token = self._next()
        what = token.text.lower()
        if what != b"database":
            self.sections_with_schema.add(self._section)
        if what == b"table":
            self._create_table()
        elif what == b"database":
            self.database = self.database or self._name()
        else:
            self._lexer.give_back(token)
        self._skip(what)

    def _create_table(self) -> None:
        """CREATE TABLE [IF NOT EXISTS] name (column, ...) ..., but for what follows the columns."""
        token = self._next()
        if token.text.lower() == b"if":
            token = [self._next() for _ in range(3)][-1]
        self._lexer.give_back(token)
        table = self._table(self._name())
        table.created += 1
        token = self._next()
        if token == _OPEN:
            columns = self._columns()
            token = self._next()
            # Inherited columns are not written, but their values are.
            table.columns = None if token.text.lower() == b"inherits" else columns
        self._lexer.give_back(token)

    def _columns(self) -> tuple[Column, ...]:
        columns = []
        ended_by = _COMMA
        while ended_by == _COMMA:
            entry, ended_by = self._entry()
            if entry and not (entry[0].kind == "word" and entry[0].text.lower() in _TABLE_CONSTRAINTS):
                name = self._identifier(entry[0])
                is_uuid = [token.text for token in entry[1:2]] == [b"uuid"]
                columns.append(Column(name, _vector_dimensions(entry[1:]), is_uuid))
                self._refuse_too_many(columns)
        return tuple(columns)

    def _refuse_too_many(self, columns: Sized) -> None:
        if len(columns) > _MOST_COLUMNS:
            raise damage(
                "corrupt", f"a list of more than {_MOST_COLUMNS} columns or values, before {self._lexer.place}"
            )

    def _entry(self) -> tuple[list[Token], Token]:
        """The first tokens of one entry of a list in brackets, and what ended it: a comma or the closing bracket."""
        kept: list[Token] = []
        depth = 0
        while True:
            token = self._next()
            if token == _SEMICOLON:
                raise damage("corrupt", f"a list without end, before {self._lexer.place}")
            if depth == 0 and token in (_COMMA, _CLOSE):
                return kept, token
            if token.kind == "sign":
                depth += _DEPTH.get(token.text, 0)
            if len(kept) < _TOKENS_OF_ENTRY:
                kept.append(token)

    def _names_in_brackets(self) -> tuple[str, ...] | None:
        """The list of columns of COPY or INSERT; None where there is none."""
        token = self._next()
        if token != _OPEN:
            self._lexer.give_back(token)
            return None
        return tuple(column.name for column in self._columns())

    def _copy(self) -> Iterator[Memory]:
        table = self._table(self._name())
        names = self._names_in_brackets()
        words: list[bytes] = []
        while (token := self._next()) != _SEMICOLON:
            words = [*words, token.text.lower()][:3]  # A damaged statement may go on for gigabytes.
        if words[:1] == [b"from"] and words != [b"from", b"stdin"]:
            message = f"the rows of {table.name} are in another file, or in another form than pg_dump's text"
            raise damage("wrong_content", message)
        if words == [b"from", b"stdin"]:
            table.copied += 1
            self._filled = None
            yield from self._copy_rows(self._rows_of(table, names))

    def _rows_of(self, table: DumpTable, names: tuple[str, ...] | None) -> RowReader:
        """What reads the rows of a statement that names these columns, or none."""
        known = table.names()
        selection = self._selection if table.name == self._collection else None
        if names is None:
            return RowReader(table, known, self._encoding, selection)
        if known is None:
            table.columns = tuple(map(Column, names))
        elif not set(names) <= set(known) or (table.is_memories and not set(names) >= SHAPE):
            raise damage("corrupt", f"the rows of {table.name} have not the columns that the table has")
        return RowReader(table, names, self._encoding, selection)

    def _copy_rows(self, rows: RowReader) -> Iterator[Memory]:
        lexer = self._lexer
        rest = lexer.rest_of_line()
        if rest.strip():
            raise self._damage("corrupt", f"the rows of {rows.table.name} begin where they must not")
        windows = rest.endswith(b"\r")
        for line in lexer.lines():
            if windows and line.ends_with(b"\r"):
                line = line._replace(end=line.end - 1)
            if line.equals(b"\\."):
                return
            if not rows.copy_line(line):
                self._look_for_error(line.value())
            elif rows.memory is not None:
                yield rows.memory
        self._look_for_error(lexer.rest_of_line())
        raise damage("truncated", f"the text ends inside the rows of {rows.table.name}")

    def _look_for_error(self, data: bytes) -> None:
        error = _ERROR_IN_DATA.search(data)
        if error:
            self._client_said(error.group())

    def _insert(self) -> Iterator[Memory]:
        """INSERT INTO name [(columns)] [OVERRIDING SYSTEM VALUE] VALUES (...), (...) [ON CONFLICT DO NOTHING]."""
        self._next()
        table = self._table(self._name())
        names = self._names_in_brackets()
        word = self._next().text.lower()
        if word == b"overriding":
            word = [self._next() for _ in range(3)][-1].text.lower()
        if word == b"default":
            table.rows += 1
            self._skip()
            return
        if word != b"values":
            raise self._damage("wrong_content", f"the rows of {table.name} come from a query, not from the dump")
        rows = self._rows_of(table, names)
        if table is not self._filled:
            self._filled = table
            table.copied += 1
        token = _COMMA
        while token == _COMMA:
            if self._next() != _OPEN:
                raise damage("corrupt", f"a row of {table.name} that is none, before {self._lexer.place}")
            rows.values(self._values())
            if rows.memory is not None:
                yield rows.memory
            token = self._next()
        if token != _SEMICOLON:
            if token.text.lower() != b"on":
                raise self._damage("corrupt", f"something between the rows of {table.name}, before {self._lexer.place}")
            self._skip()

    def _values(self) -> list[bytes | None]:
        """The values of one row: what a string literal says, None for NULL, the first word of anything else."""
        values: list[bytes | None] = []
        ended_by = _COMMA
        while ended_by == _COMMA:
            entry, ended_by = self._entry()
            values.append(_literal(entry[0]) if entry else b"")
            self._refuse_too_many(values)
        return values


def _depth_of_bodies(depth: int, word: bytes) -> int:
    """How many BEGIN and CASE of a routine's body are open after this word, as psql counts them."""
    if word == b"begin" or (word == b"case" and depth):
        return depth + 1
    return depth - 1 if word == b"end" and depth else depth


def _literal(token: Token) -> bytes | None:
    if token.kind in ("string", "escape string"):
        return string_value(token.text, escapes=token.kind == "escape string")
    return None if token.kind == "word" and token.text.lower() == b"null" else token.text


def _vector_dimensions(type_and_rest: list[Token]) -> int | None:
    """N of the type vector(N), 0 of the type vector; None where the type is another."""
    words = [token.text for token in type_and_rest]
    if words[1:2] == [b"."]:
        words = words[2:]
    if words[:1] != [b"vector"]:
        return None
    return int(words[2]) if words[1:2] == [b"("] and words[2].isdigit() else 0


def _connected_to(argument: bytes) -> str:
    """The database of a \\connect command, as pg_dump writes it: a name, or keywords where the name is odd."""
    if argument.startswith(b"-reuse-previous"):
        keywords = _CONNECT_BY_KEYWORDS.search(argument.replace(b'""', b'"'))
        name = re.sub(rb"\\(.)", rb"\1", keywords.group(1)) if keywords else argument
    elif argument.startswith(b'"'):
        name = argument.strip(b'"').replace(b'""', b'"')
    else:
        name = argument.partition(b" ")[0]
    return name.decode("utf-8", "replace")
