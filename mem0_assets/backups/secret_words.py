"""What a secret looks like: by the name of its variable, or by its own shape. Pure rules, without a file.

They would rather take too much for a secret than too little: a person who restores fills in one blank more, while a key
that stands in a backup stands in every copy of it, for years.
"""

import re
from collections.abc import Iterator

MASK = "<masked by mem0-assets>"

# A name is secret where one of its words ends in one of the first (PGPASSWORD, requirepass), or is one of the others ...
_SECRET_WORD = re.compile(
    r".*(?:key|token|secret|password|passwd|passphrase|pass|pwd|credential|auth)s?"
    r"|pw|creds?|private|salt|pepper|jwt|authorization|bearer|cookies?|signature|pin|t?otp|mnemonic|sas"
)
# ... unless its last word says that the value is something about the secret (JWT_ALGORITHM, AUTH_DISABLED, KEY_PATH) ...
_HARMLESS_LAST_WORD = re.compile(
    r"path|file|dir|folder|name|header|alg(?:orithm)?|type|method|mode|provider|enabled|disabled|required|version|issuer"
    r"|expir[ey]s?|expiration|ttl|(?:minute|hour|day|second)s|limit|length|size|count|audience|url|uri|endpoint"
)
# ... and always where it is an address that lets in whoever knows it.
_SECRET_ADDRESS = re.compile("webhook|dsn")
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SWITCHES = frozenset(["", "true", "false", "yes", "no", "on", "off", "null", "none", "~"])
# ${NAME}, ${NAME:?message}, $NAME_WITH_WORDS, $$NAME_WITH_WORDS: the value stands elsewhere. ($ecret may be a password.)
_REFERENCE = re.compile(r"\$\{\w+(?::?\?[^{}]*)?\}|\$?\$[A-Z][A-Z0-9]*_[A-Z0-9_]*", re.ASCII)
_DEFAULT = re.compile(r"\$\{(?P<name>\w+):?[-+](?P<value>.*)\}", re.DOTALL | re.ASCII)

# Each has its secret in the group `s`, or is one as a whole.
_SHAPES = [
    re.compile(shape)
    for shape in (
        r"\b(?:sk|pk|rk|pa|m0)-[\w-]{12,}",  # OpenAI, Anthropic, Langfuse, Voyage, mem0's platform
        r"\b(?:m0sk|sk_live|sk_test|rk_live|whsec)_[\w-]{8,}",
        r"\b(?:hf|gsk|pplx|r8|npm|nvapi|tvly|lsv2_pt)[_-][A-Za-z0-9]{16,}",
        r"\b(?:gh[opsur]|github_pat|glpat|glrt|dckr_pat|pypi|xox[a-z]|xapp|shpat)[_-][\w-]{10,}",
        r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}|\bAIza[\w-]{30,}|\bSG\.[\w-]{16,}\.[\w-]{16,}",
        r"\b\d{5,}:[A-Za-z0-9_-]{20,}",  # Telegram's bots
        r"\beyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?",  # JWT
        r"\$(?:2[abxy]?|apr1|argon2\w*|[156])\$[^\s\"',]+|\$\$(?:2[abxy]?|apr1|[156])\$\$[^\s\"',]+",  # hashed passwords
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
        r"(?i:\b(?:bearer|basic))[ ]+(?P<s>[\w.~+/=-]{6,})",
        r"(?i:\b(?:password|identified by))\s+(?P<q>['\"])(?P<s>[^'\"]+)(?P=q)",  # SQL
        r"\s-u[ ]+\S+[ ]+-p[ ]+(?P<s>[^\s\"']+)",  # cypher-shell in Neo4j's usual health check
        r"\s(?:-u|--user)[ ]+[^\s:\"']+:(?P<s>(?!\d+\b)[^\s\"']+)",  # curl
    )
]
# user:password@ up to the last @, since mem0 puts a password with @ and / into its URL as it is.
_URL = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]{0,30}://(?:\$\{[^}\s]*\}|[^\s:/@\"'$])*:(?P<s>[^\s\"']{1,999})@")
_URL_DEFAULTS = re.compile(r"\$\{(?P<name>\w+):?[-+](?P<value>[^{}]*)\}", re.ASCII)
_RUN = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_DIGEST = re.compile(r"sha(?:256|512):$")


def is_secret_name(name: str) -> bool:
    """Whether a variable or key of this name holds a secret: OPENAI_API_KEY, apiKey, requirepass; not AUTH_DISABLED."""
    words = [word.lower() for word in _WORDS.findall(name)]
    if any(_SECRET_ADDRESS.fullmatch(word) for word in words):
        return True
    return any(_SECRET_WORD.fullmatch(word) for word in words) and not _HARMLESS_LAST_WORD.fullmatch(words[-1])


def secret_part(name: str, value: str) -> tuple[int, int] | None:
    """Where the secret stands in the value of a variable with a secret name: all of it, or a ${...}'s default.

    None where there is none: empty, a switch, a reference, a number of tokens, what was masked before.
    """
    if default := _DEFAULT.fullmatch(value):
        part = secret_part(name, default["value"])
        return part and (part[0] + default.start("value"), part[1] + default.start("value"))
    plain = value.strip()
    numbers = name.lower().endswith("tokens") and plain.isdigit()
    if plain.lower() in _SWITCHES or plain == MASK or numbers or _REFERENCE.fullmatch(plain):
        return None
    return 0, len(value)


def secret_shapes(text: str) -> Iterator[tuple[int, int]]:
    """Where something stands that is a secret by its shape, whatever it is called: [start, end) each."""
    for shape in _SHAPES:
        for match in shape.finditer(text):
            group = "s" if "s" in shape.groupindex else 0
            yield from _part(text, *match.span(group))
    for match in _URL.finditer(text):
        yield from _part(text, *match.span("s"))
    for match in _URL_DEFAULTS.finditer(text):
        if is_secret_name(match["name"]):
            yield from _part(text, *match.span("value"))
    for match in _RUN.finditer(text):
        if _is_random(match[0]) and not _DIGEST.search(text, max(0, match.start() - 7), match.start()):
            yield match.span()


def _part(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    part = secret_part("", text[start:end])
    if part:
        yield start + part[0], start + part[1]


def _is_random(run: str) -> bool:
    """Whether a piece of 16 letters and digits or more changes between them as no word does: not `text-embedding-3`."""
    return any(
        len(piece) >= 16 and re.search(r"\d", piece) and len(re.findall(r"\d+|[a-z]+|[A-Z]+", piece)) > 5
        for piece in re.split(r"[^A-Za-z0-9+]", run)
    )
