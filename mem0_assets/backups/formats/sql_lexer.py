"""Cuts the plain text of a dump into what psql would see: words, strings, comments, its own commands, lines of data.

Memory texts hold anything: SQL, `COPY ... FROM stdin;`, `\\.`, quotes of every kind. So nothing here looks for a
pattern in the text as a whole; it is read from its beginning, as psql reads it, and a string is passed over as a
string. Two speeds: between quotes and newlines the text is skipped by memchr (bytes.find), and only what stands
outside of them, which is little, is matched token by token.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from mem0_assets.backups.formats.damage import DumpDamage, damage
from mem0_assets.backups.formats.span import Span

Kind = Literal["word", "name", "string", "escape string", "number", "sign", "comment", "command", "message", "end"]

# A client program's own words, written into its output by `2>&1`.
CLIENT_PROGRAMS = (b"pg_dump", b"pg_dumpall", b"pg_restore", b"psql")
CLIENT_WORDS = rb"(?:" + b"|".join(CLIENT_PROGRAMS) + rb")(?:\.exe)?: "

# No bounded token is longer than this, so that with so many bytes at hand a match is never cut off by the buffer's end.
_AHEAD_BYTES = 1 << 13
_TOKEN = re.compile(
    rb"(?P<space>[ \t\r\n\f\v]+)"
    rb"|(?P<comment>--)"
    rb"|(?P<block>/\*)"
    rb"|(?P<message>" + CLIENT_WORDS + rb")"
    rb"|(?P<escape>[eE]')"
    rb"|(?P<string>(?:[bBxXnN]|[uU]&)?')"
    rb'|(?P<name>(?:[uU]&)?")'
    rb"|(?P<dollar>\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]{0,1000})?\$)"
    rb"|(?P<word>[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]{0,4000})"
    rb"|(?P<number>[0-9][A-Za-z0-9_.]{0,4000})"
    rb"|(?P<command>\\)"
    rb"|(?P<sign>.)",
    re.DOTALL,
)
# No row of PostgreSQL is longer than this in text form: a longer line is none.
MAX_LINE_BYTES = 1 << 30
# What is longer is not kept whole. A memory would be refused for it; of other rows only the number of fields matters.
_LONGEST_KEPT_BYTES = 1 << 25
_KEPT_EDGE_BYTES = 1 << 20
_MOST_COLUMNS = 1600
# Stands where something was left out. No text of PostgreSQL holds a zero byte.
FORGOTTEN = b"\0"

_COMMENT_EDGE = re.compile(rb"/\*|\*/")


class Token(NamedTuple):
    """One piece of the text. `text` is what stands between the quotes, as written; the line of a comment or command."""

    kind: Kind
    text: bytes


END = Token("end", b"")


class SqlLexer:
    """Reads blocks of plain text once, from front to back; holds no more than one token, or `max_bytes`, of it."""

    def __init__(self, blocks: Iterable[bytes], *, max_bytes: int = MAX_LINE_BYTES) -> None:
        self._blocks = iter(blocks)
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._at = 0
        self._dropped = 0
        self._forgotten = 0
        self._ended = False
        self._damage: DumpDamage | None = None
        self._given_back: list[Token] = []
        # True where the dump was made with standard_conforming_strings off: then plain strings have escapes too.
        self.backslash_escapes = False

    @property
    def read_bytes(self) -> int:
        """How many bytes of text came in so far."""
        return self._dropped + len(self._buffer)

    @property
    def place(self) -> str:
        """Where the next token begins, for people."""
        return f"byte {self._dropped + self._at - self._forgotten} of the text"

    def _fill(self) -> bool:
        """Bring in the next block and forget what was read; False where the text has ended."""
        if len(self._buffer) - self._at + self._forgotten > self._max_bytes:
            raise damage("corrupt", f"a line or a string of more than {self._max_bytes} bytes at {self.place}")
        block = self._next_block()
        self._ended = not block
        zero = block.find(b"\0")
        if zero >= 0:
            raise damage("corrupt", f"byte {self.read_bytes + zero} of the text is zero, as after a loss of power")
        del self._buffer[: self._at]
        self._dropped += self._at
        self._at = 0
        self._buffer += block
        return not self._ended

    def _more(self) -> bool:
        """_fill, for what cannot go on without more text: raises the damage by which the text ended, if one did."""
        if not self._fill() and self._damage is not None:
            raise self._damage
        return not self._ended

    def _next_block(self) -> bytes:
        """The next block; none at the end. Damage is raised only when the text that came before it is used up."""
        if self._damage is not None:
            raise self._damage
        try:
            return b"" if self._ended else next(self._blocks, b"")
        except DumpDamage as damaged:
            self._damage = damaged
            return b""

    def _find(self, wanted: bytes, start: int) -> int:
        """Where `wanted` is next, from `start` bytes after the token's beginning, counted from there too; -1 if not."""
        while True:
            found = self._buffer.find(wanted, self._at + start)
            if found >= 0:
                return found - self._at
            start = max(start, len(self._buffer) - self._at - len(wanted) + 1)
            start -= self._forget_middle(start)
            if not self._more():
                return -1

    def _forget_middle(self, passed: int) -> int:
        """Forget the midst of a line or a string too long to be a memory, of which `passed` bytes were looked at.

        Its tabs are kept, for a row's fields to be counted, and FORGOTTEN marks the place. What comes after it begins with
        no half of a pair of backslashes. Returns how many bytes went.
        """
        if passed <= _LONGEST_KEPT_BYTES:
            return 0
        start, end = self._at + _KEPT_EDGE_BYTES, self._at + passed - _KEPT_EDGE_BYTES
        held = self._buffer[self._at : end]
        end -= (len(held) - len(held.rstrip(b"\\"))) % 2
        kept = b"\t" * min(self._buffer.count(b"\t", start, end), _MOST_COLUMNS) + FORGOTTEN
        self._buffer[start:end] = kept
        gone = end - start - len(kept)
        self._dropped += gone
        self._forgotten += gone
        return gone

    def _take(self, end: int) -> bytes:
        """The bytes up to `end`, counted from the token's beginning, and on to what follows them."""
        text = bytes(self._buffer[self._at : self._at + end])
        self._move_to(self._at + end)
        return text

    def _move_to(self, at: int) -> None:
        """Go on to the next token or line."""
        self._at = at
        self._forgotten = 0

    def _line(self) -> bytes:
        end = self._find(b"\n", 0)
        return self._take(end if end >= 0 else len(self._buffer) - self._at)

    def lines(self) -> Iterator[Span]:
        """Every whole line from here on, without its newline; each is good until the next is asked for.

        What follows the last newline is left unread.
        """
        while (length := self._find(b"\n", 0)) >= 0:
            line = Span(self._buffer, self._at, self._at + length)
            self._move_to(line.end + 1)
            yield line

    def rest_of_line(self) -> bytes:
        """What is left of this line, without its newline, which is passed over."""
        line = self._line()
        self._at += self._is_at(b"\n", 0)
        return line

    def at_end(self) -> bool:
        """Whether nothing follows, not even a blank."""
        return not self._given_back and self._at == len(self._buffer) and not self._more()

    def skip_byte_order_mark(self) -> None:
        """Pass over the mark that Windows programs put before UTF-8, as psql does."""
        if self._is_at(b"\xef\xbb\xbf", 0):
            self._at += 3

    def give_back(self, token: Token) -> None:
        """Make `token` the next one again."""
        self._given_back.append(token)

    def next(self) -> Token:
        """The next token, or END. Raises DumpDamage `truncated` inside an open string, name or comment."""
        if self._given_back:
            return self._given_back.pop()
        while True:
            if len(self._buffer) - self._at < _AHEAD_BYTES and not self._ended:
                self._fill()
                continue
            match = _TOKEN.match(self._buffer, self._at)
            if match is None:
                self._more()
                return END
            group = match.lastgroup
            length = match.end() - self._at
            if group == "space":
                self._at += length
            elif group == "block":
                self._skip_block_comment()
            elif group == "dollar":
                return self._dollar_string(match.group())
            else:
                return self._token(str(group), length)

    def _token(self, group: str, length: int) -> Token:
        if group == "string":
            return self._string(length, self.backslash_escapes)
        if group == "escape":
            return self._string(length, True)
        if group == "name":
            return self._name(length)
        if group == "word":
            return Token("word", self._take(self._before_message(length)))
        if group == "number":
            return Token("number", self._take(length))
        if group == "comment":
            return Token("comment", self._line().rstrip())
        if group == "command":
            return Token("command", self._line().rstrip())
        if group == "message":
            return Token("message", self._line().rstrip())
        return Token("sign", self._take(length))

    def _before_message(self, length: int) -> int:
        """The length of the word that begins here, but for a client program's name that was written into its midst."""
        end = self._at + length
        if self._buffer.startswith(b": ", end):
            program = next((name for name in CLIENT_PROGRAMS if self._buffer.endswith(name, self._at, end)), b"")
            length -= len(program)
        return length

    def _string(self, opening: int, escapes: bool) -> Token:
        end = opening
        while True:
            end = self._closing(b"'", end)
            if escapes and self._backslashes_before(end, opening) % 2:
                end += 1
            elif self._is_at(b"'", end + 1):
                end += 2
            else:
                return Token("escape string" if escapes else "string", self._take(end + 1)[opening:-1])

    def _name(self, opening: int) -> Token:
        end = self._closing(b'"', opening)
        while self._is_at(b'"', end + 1):
            end = self._closing(b'"', end + 2)
        return Token("name", self._take(end + 1)[opening:-1])

    def _closing(self, quote: bytes, start: int) -> int:
        end = self._find(quote, start)
        if end < 0:
            raise damage("truncated", f"the text ends inside what was opened at {self.place}")
        return end

    def _is_at(self, wanted: bytes, start: int) -> bool:
        while len(self._buffer) - self._at < start + len(wanted) and self._fill():
            pass
        return self._buffer.startswith(wanted, self._at + start)

    def _backslashes_before(self, end: int, start: int) -> int:
        count = 0
        while end - count > start and self._buffer[self._at + end - count - 1] == ord("\\"):
            count += 1
        return count

    def _dollar_string(self, tag: bytes) -> Token:
        end = self._closing(tag, len(tag))
        return Token("string", self._take(end + len(tag))[len(tag) : -len(tag)])

    def _skip_block_comment(self) -> None:
        depth, end = 0, 0
        while True:
            edge = _COMMENT_EDGE.search(self._buffer, self._at + end)
            if edge is None:
                end = max(end, len(self._buffer) - self._at - 1)
                end -= self._forget_middle(end)
                if not self._more():
                    raise damage("truncated", f"the text ends inside the comment opened at {self.place}")
                continue
            depth += 1 if edge.group() == b"/*" else -1
            end = edge.end() - self._at
            if depth == 0:
                self._move_to(self._at + end)
                return
