"""Finds the secrets in a text file of a deployment, and replaces them with a mask; the rest stays as it was written.

Each rule says from where to where, by itself; what any of them says is masked. Env files and YAML are read by their own
parsers, which know where a value ends; in all else, and inside of their values, a secret ends at a blank or a quote. In a
comment all that follows a secret's name is masked: nobody knows where it ends.

No fingerprint of a secret is left. Whoever holds the backups folder would hold its key as well, and could guess a short
password at leisure. What watches for changed secrets can keep its fingerprints away from the backups.
"""

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import yaml
from dotenv.parser import Binding, parse_stream

from mem0_assets.backups.secret_words import MASK, is_secret_name, secret_part, secret_shapes

# Known to everybody who knows mem0, PostgreSQL and Neo4j, and ordinary words of their files: masked where they are set,
# and not hunted for, as an image `pgvector/pgvector` on a host `postgres` would be nothing but masks.
WELL_KNOWN = frozenset(["postgres", "mem0", "mem0graph", "neo4j", "password", "admin", "root", "test", "changeme"])
SHORTEST_HUNTED = 4
_SHORTEST_ANYWHERE = 8
_ACCOUNT = re.compile(r"[^/:\s]+[/:]([^/\s]\S*)")

_NAME = r"(?P<name>[A-Za-z_][\w.-]{0,99})"  # bounded: a line of a megabyte without a blank must not take hours
# Escaped quotes (in a quoted YAML text), quotes (a shell has '"'"' or '\'' for a quote inside), or what has no blank.
_VALUE = r"""(?:\\(?P<q>["'])(?P<escaped>.*?)\\(?P=q)
    |"(?P<double>(?:[^"\\]|\\.)*)"
    |'(?P<single>[^']*(?:'(?:"'"|\\')'[^']*)*)'
    |(?P<plain>(?:\$\{[^{}]*\}|[^\s"'])(?:\$\{[^{}]*\}|\S)*?)(?=["'`);,\]}]*(?:\s|\Z)))"""
_ASSIGNED = re.compile(rf"""{_NAME}["']?(?:[ \t]*=[ \t]*|[ \t]*:[ \t]+|:(?=["'])){_VALUE}""", re.DOTALL | re.VERBOSE)
_FLAG = re.compile(rf"--?{_NAME}[ \t]+(?!--){_VALUE}", re.DOTALL | re.VERBOSE)
_DOCKERFILE = re.compile(rf"(?mi:^\s*(?:ENV|ARG|LABEL)[ \t]+){_NAME}[ \t]+(?P<plain>[^\r\n]+)")
_COMMENT = re.compile(r"(?m)(?:^|(?<=\s))#[^\r\n]*")
_NAMED_IN_COMMENT = re.compile(rf"""{_NAME}["']?[ \t]*(?P<sign>[:=])[ \t]*(?=\S)""")
_PASSED_ON = re.compile(rf"""{_NAME}["']?[ \t]*[:=][ \t]*["']?\$\{{?(?P<variable>[A-Za-z_]\w*)""")
_PASSED_ON_IN_URL = re.compile(r"://[^\s:@]*:\$\{?(?P<variable>[A-Za-z_]\w*)[^\s@]*@")
_ENV_COMMENT = re.compile(r"\s+#(?:\s[^\r\n]*)?$|\s+$")
_LIST_ITEM = re.compile(rf"{_NAME}=")
_PROPERTIES = re.compile(r"(?:[&!]\S*\s+)*")
_FLAG_ALONE = re.compile(rf"--?{_NAME}")


class UnreadableTextError(ValueError):
    """A text that its own parser does not understand, so that nobody knows where its secrets are. Says the line only."""


@dataclass(frozen=True)
class Secret:
    """Where a secret stands, [start, end) in the text; its variable's name, if any; what to look for elsewhere, too."""

    start: int
    end: int
    name: str = ""
    values: tuple[str, ...] = field(default=(), repr=False)


def find_secrets(file_name: str, text: str) -> list[Secret]:
    """Every secret in the text. Raises UnreadableTextError for an env file or a YAML file that is none."""
    if is_env(file_name):
        found = _in_env(text)
    elif is_yaml(file_name):
        found = _in_yaml(text)
    else:
        found = _in_words(text, 0, len(text))
    shapes = (Secret(start, end, "", (text[start:end],)) for start, end in secret_shapes(text))
    return [secret for secret in (*found, *_in_comments(text), *shapes) if secret.start < secret.end]


def passed_on(text: str) -> set[str]:
    """The variables that end up as secrets, whatever they are called: PG in `POSTGRES_PASSWORD: ${PG}`."""
    named = {match["variable"] for match in _PASSED_ON.finditer(text) if is_secret_name(match["name"])}
    return named | {match["variable"] for match in _PASSED_ON_IN_URL.finditer(text)}


def is_env(file_name: str) -> bool:
    return file_name.startswith(".env") or file_name.endswith(".env")


def is_yaml(file_name: str) -> bool:
    return file_name.endswith((".yaml", ".yml", ".json"))


def hunted(values: Iterable[str]) -> list[str]:
    """The values to be looked for wherever they may stand; of `user/password` the password too (NEO4J_AUTH)."""
    found = set()
    for value in values:
        account = _ACCOUNT.fullmatch(value)
        found |= {part.strip(" \t\r\n\"'") for part in (value, account[1] if account else "")}
    return sorted(filter(_is_hunted, found), key=len, reverse=True)


def _is_hunted(value: str) -> bool:
    return len(value) >= SHORTEST_HUNTED and value.lower() not in WELL_KNOWN and MASK not in value


def places(text: str, value: str) -> Iterator[tuple[int, int]]:
    """Where a value stands in a text; a short one as a word of its own only."""
    around = ("", "") if len(value) >= _SHORTEST_ANYWHERE else (r"(?<![A-Za-z0-9])", r"(?![A-Za-z0-9])")
    for match in re.finditer(around[0] + re.escape(value) + around[1], text):
        yield match.span()


def masked(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """The text with one mask in the place of each span, and of spans that overlap or touch."""
    pieces, position, hidden = [], 0, -1
    for start, end in sorted(spans):
        if start > hidden:
            pieces += [text[position:start], MASK]
        hidden = max(hidden, end)
        position = hidden
    return "".join([*pieces, text[position:]])


# --- Env files ---


def _in_env(text: str) -> Iterator[Secret]:
    offset = 1 if text.startswith("\ufeff") else 0  # a mark that Windows' editors leave
    for binding in parse_stream(io.StringIO(text[offset:], newline="")):
        original = binding.original.string
        if binding.error:
            blank = original[: len(original) - len(original.lstrip())]
            raise UnreadableTextError(f"line {binding.original.line + blank.count(chr(10))} is no NAME=value")
        if binding.key is not None and binding.value:
            yield from _in_binding(text, offset, binding)
        offset += len(original)


def _in_binding(text: str, offset: int, binding: Binding) -> Iterator[Secret]:
    original, name = binding.original.string, binding.key or ""
    start = original.index("=", original.index(name) + len(name)) + 1
    start += len(original[start:]) - len(original[start:].lstrip(" \t"))
    if original[start] in "\"'":
        start, end = start + 1, _closing(original, start)
    else:
        end = len(original.rstrip("\r\n"))
        end -= len(match[0]) if (match := _ENV_COMMENT.search(original, start, end)) else 0
    yield from _in_value(text, offset + start, offset + end, name, binding.value or "")


def _closing(original: str, start: int) -> int:
    """The place of the quote that ends the value which begins with one."""
    quote = original[start]
    match = re.compile(rf"{quote}(?:\\.|[^{quote}\\])*{quote}", re.DOTALL).match(original, start)
    assert match is not None  # the parser has read it
    return match.end() - 1


# --- YAML ---


def _in_yaml(text: str) -> Iterator[Secret]:
    try:
        documents = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
        yield from _Yaml(text).secrets(documents)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else "the file"
        raise UnreadableTextError(f"{where} is not YAML") from None


class _Yaml:
    """Walks the nodes of a YAML file; through an alias too, so that the anchor's value is found by the alias's name."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._seen: set[tuple[int, str]] = set()

    def secrets(self, documents: list[yaml.Node]) -> Iterator[Secret]:
        for document in documents:
            yield from self._node(document, "", in_list=False)

    def _node(self, node: yaml.Node, name: str, *, in_list: bool) -> Iterator[Secret]:
        if (id(node), name) in self._seen:
            return
        self._seen.add((id(node), name))
        if isinstance(node, yaml.ScalarNode):
            yield from self._scalar(node, name, in_list)
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                yield from self._node(value, _key(key), in_list=False)
                yield from self._node(key, "", in_list=False)
        else:
            before = ""
            for item in node.value:
                yield from self._node(item, before or name, in_list=True)
                flag = _FLAG_ALONE.fullmatch(item.value) if isinstance(item, yaml.ScalarNode) else None
                before = flag["name"] if flag and is_secret_name(flag["name"]) else ""

    def _scalar(self, node: yaml.ScalarNode, name: str, in_list: bool) -> Iterator[Secret]:
        start, end = self._content(node)
        item = _LIST_ITEM.match(self._text, start, end) if in_list and not is_secret_name(name) else None
        if item:
            name, start = item["name"], item.end()
        value = node.value.partition("=")[2] if item else node.value
        yield from _in_value(self._text, start, end, name, value)

    def _content(self, node: yaml.ScalarNode) -> tuple[int, int]:
        """Where the text of a scalar stands, without anchor, tag, quotes, or the first line of a block."""
        start, end = node.start_mark.index, node.end_mark.index
        properties = _PROPERTIES.match(self._text, start, end)
        start = properties.end() if properties else start
        if node.style in ("'", '"'):
            return start + 1, end - 1
        if node.style in ("|", ">"):
            start = self._text.find("\n", start, end) + 1 or end
        block = self._text[start:end]
        return start + len(block) - len(block.lstrip()), end - len(block) + len(block.rstrip())


def _key(node: yaml.Node) -> str:
    """A key as a name. `secrets` is Compose's own word: below it stand the names of secrets, and files."""
    return node.value if isinstance(node, yaml.ScalarNode) and node.value != "secrets" else ""


# --- What is common to all ---


def _in_value(text: str, start: int, end: int, name: str, value: str) -> Iterator[Secret]:
    """The value of a variable: secret as a whole by its name, or with secrets in it (JAVA_OPTS=-Dpassword=...)."""
    if not is_secret_name(name):
        yield from _in_words(text, start, end)
    elif part := secret_part(name, text[start:end]):
        written = text[start:end][slice(*part)]
        whole = (value,) if part == (0, end - start) else ()
        yield Secret(start + part[0], start + part[1], name, (written, *whole))


def _in_words(text: str, start: int, end: int) -> Iterator[Secret]:
    for pattern in (_ASSIGNED, _FLAG, _DOCKERFILE):
        position = start
        while match := pattern.search(text, position, end):
            position = match.end("name")
            if is_secret_name(match["name"]):
                yield from _group(text, match)


def _in_comments(text: str) -> Iterator[Secret]:
    for comment in _COMMENT.finditer(text):
        position = comment.start()
        while match := _NAMED_IN_COMMENT.search(text, position, comment.end()):
            position = match.end("name")
            part = (
                secret_part(match["name"], text[match.end() : comment.end()]) if is_secret_name(match["name"]) else None
            )
            if part:
                yield _commented(text, match, match.end() + part[0], match.end() + part[1])
                break


def _commented(text: str, match: re.Match[str], start: int, end: int) -> Secret:
    """What follows a colon, or has blanks, is most often prose: it is masked, but not looked for in the whole file."""
    prose = match["sign"] == ":" or " " in text[start:end]
    return Secret(start, end, match["name"], () if prose else (text[start:end],))


def _group(text: str, match: re.Match[str]) -> Iterator[Secret]:
    groups = match.groupdict()
    kind = next(kind for kind in ("escaped", "double", "single", "plain") if groups.get(kind) is not None)
    start, end = match.span(kind)
    if text.startswith(MASK, start):
        return  # a masked file that is copied again
    if part := secret_part(match["name"], text[start:end]):
        start, end = start + part[0], start + part[1]
        yield Secret(start, end, match["name"], (text[start:end],))
