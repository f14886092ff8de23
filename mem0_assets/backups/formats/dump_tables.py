"""One table of a dump as it is met: its columns, how many rows it has, and what is wrong with them."""

from dataclasses import dataclass, field

from mem0_assets.backups.formats.damage import damage
from mem0_assets.backups.formats.memory_rows import SHAPE, UUID_TEXT, MemoryRows, RowFault, copy_field, memory_of_text
from mem0_assets.backups.formats.span import Span
from mem0_assets.backups.formats.sql_lexer import FORGOTTEN
from mem0_assets.live.memories import Memory, Selection
from mem0_assets.verdicts import Reason

MOST_FAULTY_ROWS = 100_000


@dataclass(frozen=True)
class Column:
    """A column of CREATE TABLE; `dimensions` is N of the type vector(N), 0 of plain vector, None of other types."""

    name: str
    dimensions: int | None = None
    is_uuid: bool = False


@dataclass
class DumpTable:
    """The tally of one table of one database of the dump.

    `columns` is None until a statement told them. `created` counts its CREATE TABLE statements, `copied` its COPY
    statements and its series of INSERTs: a dump that holds a table twice cannot be trusted to say how much is in it.
    """

    name: str
    database: str | None
    columns: tuple[Column, ...] | None = None
    rows: int = 0
    created: int = 0
    copied: int = 0
    memories: MemoryRows = field(default_factory=MemoryRows)
    faulty: int = 0
    first_fault: str = ""

    @property
    def is_memories(self) -> bool:
        """Whether it has the columns of a table of memories."""
        return self.columns is not None and {column.name for column in self.columns} >= SHAPE

    @property
    def times(self) -> int:
        """How often the file holds this table of this database."""
        return max(self.created, self.copied, 1)

    @property
    def dimensions(self) -> int | None:
        """The dimensions of the vector column, where CREATE TABLE told them."""
        found = (column.dimensions for column in self.columns or () if column.name == "vector")
        return next(found, None) or None

    def names(self) -> tuple[str, ...] | None:
        """The names of its columns, in their order, where they are known."""
        return None if self.columns is None else tuple(column.name for column in self.columns)

    def add(self, rows: "DumpTable") -> None:
        """Put rows to it that were counted elsewhere: of a file that holds rows alone."""
        self.rows += rows.rows
        self.copied += rows.copied
        self.memories.namespaces.update(rows.memories.namespaces)
        self.memories.dimensions.update(rows.memories.dimensions)
        self.faulty += rows.faulty
        self.first_fault = self.first_fault or rows.first_fault

    def fault(self, what: str) -> None:
        """Note that the row counted last could not be loaded. Raises DumpDamage where so many could not: a bomb of rows."""
        self.faulty += 1
        self.first_fault = self.first_fault or f"row {self.rows}: {what}"
        if self.faulty > MOST_FAULTY_ROWS:
            raise damage("corrupt", f"so many rows of {self.name} are damaged that the rest was not read")

    def faults(self) -> list[Reason]:
        """The reasons against this table's rows."""
        reasons = []
        if self.created > 1:
            reasons.append(Reason("corrupt", f"the dump creates {self.name} {self.created} times"))
        if self.faulty:
            rows = f"{self.faulty} of {self.rows} rows of {self.name} are damaged"
            reasons.append(Reason("corrupt", f"{rows}; the first is {self.first_fault}"))
        seen = sorted(self.memories.dimensions)
        if len(seen) > 1 or (self.dimensions and seen and seen != [self.dimensions]):
            column = f"the column's type says {self.dimensions}" if self.dimensions else "the column's type says none"
            message = f"the rows of {self.name} hold vectors of {' and '.join(map(str, seen))} dimensions; {column}"
            untyped = any(column.name == "vector" and column.dimensions == 0 for column in self.columns or ())
            reasons.append(Reason("dimensions_changed" if untyped else "corrupt", message))
        return reasons


class RowReader:
    """Counts the rows of one COPY or INSERT statement into its table.

    `names` are the columns of the statement, in its order; None where neither it nor CREATE TABLE told them: then all
    rows must be as wide as the first. With a `selection`, `memory` is the row counted last, where it is whole and chosen.
    """

    def __init__(
        self, table: DumpTable, names: tuple[str, ...] | None, encoding: str, selection: Selection | None = None
    ) -> None:
        self.table = table
        self.memory: Memory | None = None
        self._selection = selection
        self._encoding = encoding
        self._width = None if names is None else len(names)
        known = names is not None and set(names) >= SHAPE
        self._numbered = any(column.name == "id" and column.is_uuid for column in table.columns or ())
        self._places = tuple(map(names.index, ("id", "vector", "payload"))) if names and known else None

    def copy_line(self, line: Span) -> bool:
        """Count one line of a COPY block; whether it is whole."""
        self.table.rows += 1
        self.memory = None
        if self._places is None:
            return self._fits(0 if self._width == 0 and line.equals(b"") else line.count(b"\t") + 1)
        fields = line.split(b"\t")
        if not self._fits(len(fields)):
            return False
        number, vector, payload = (fields[place] for place in self._places)
        return self._memory(
            copy_field(number.value()), None if vector.equals(b"\\N") else vector, copy_field(payload.value())
        )

    def values(self, values: list[bytes | None]) -> bool:
        """Count one row of an INSERT, its string literals resolved; whether it is whole."""
        self.table.rows += 1
        self.memory = None
        if self._width is None and _looks_like_memory(values):
            self.table.columns = (Column("id"), Column("vector"), Column("payload"))
            self._places = (0, 1, 2)
        if not self._fits(len(values)):
            return False
        if self._places is None:
            return True
        number, vector, payload = (values[place] for place in self._places)
        return self._memory(number, None if vector is None else Span(vector, 0, len(vector)), payload)

    def _fits(self, width: int) -> bool:
        if self._width is None:
            self._width = width
        if width == self._width:
            return True
        self.table.fault(f"it has {width} columns instead of {self._width}")
        return False

    def _memory(self, number: bytes | None, vector: Span | None, payload: bytes | None) -> bool:
        try:
            if (payload and FORGOTTEN in payload) or (vector and vector.holds(FORGOTTEN)):
                raise RowFault("it is longer than any memory")
            if self._numbered and number is not None and not UUID_TEXT.fullmatch(number):
                raise RowFault("its id is none")
            namespace = self.table.memories.add(number, vector, payload, self._encoding)
            if self._selection is not None:
                self.memory = memory_of_text(number, namespace, payload, vector, self._encoding, self._selection)
        except RowFault as fault:
            self.table.fault(str(fault))
            return False
        return True


def _looks_like_memory(values: list[bytes | None]) -> bool:
    """Whether a row that came without any column names (--data-only --inserts) is one of mem0's."""
    if len(values) != 3:
        return False
    number, vector, payload = values
    return (
        (number is not None and UUID_TEXT.fullmatch(number) is not None)
        and (vector is None or vector.startswith(b"["))
        and (payload is None or payload.startswith(b"{"))
    )
