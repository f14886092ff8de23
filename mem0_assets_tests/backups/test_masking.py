"""Secrets leave a text, and everything else stays as it was written."""

import json
import shlex

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mem0_assets.backups.masking import UnreadableTextError, find_secrets, hunted, masked, places
from mem0_assets.backups.secret_words import MASK


def _mask(name: str, text: str) -> str:
    return masked(text, [(secret.start, secret.end) for secret in find_secrets(name, text)])


def _check(name: str, before: str) -> None:
    """`before` has its secrets in guillemets: they, and nothing else, are masked; and nothing more by a second time."""
    text, expected = before.replace("«", "").replace("»", ""), ""
    for number, piece in enumerate(before.replace("»", "«").split("«")):
        expected += MASK if number % 2 else piece
    assert _mask(name, text) == expected
    assert _mask(name, expected) == expected


@pytest.mark.parametrize(
    "line",
    [
        "OPENAI_API_KEY=«hunter2»",
        "OPENAI_API_KEY = «hunter2» # mine",
        "export OPENAI_API_KEY='«hunter #2»'",
        'OPENAI_API_KEY="«hun\\"ter\n2»"  # mine',
        "OPENAI_API_KEY=«hunter#2 with #more»\r\nPOSTGRES_USER=mem0\r",
        "\ufeffOPENAI_API_KEY=«hunter2»",
        "\n\n  'OPENAI_API_KEY'=«hunter2»",
        "OPENAI_API_KEY=\nPOSTGRES_USER=postgres\nPOSTGRES_PASSWORD=«postgres»",
        "# OPENAI_API_KEY=«hunter2 # and so on»",
        "#openai_api_key: «hunter2»",
        "AUTH_DISABLED=true\nKEY_PATH=/etc/key.pem\nONLY_A_NAME_KEY\nMAX_TOKENS=2000",
        "JAVA_OPTS=-Dpassword=«hunter2» -Xmx1g",
        'JSON={"apiKey": "«hunter 2»", "model": "x"}',
        "DATABASE_URL=postgres://mem0:«p@ss»@db/mem0 # the database",
        "JWT_SECRET=${OTHER}\nA_KEY=${A:-«hunter2»}",
    ],
)
def test_of_an_env_file_only_the_secret_values_go(line: str) -> None:
    _check(".env.prd", f"{line}\nMEM0_TELEMETRY=false # off\n")


@pytest.mark.parametrize(
    "lines",
    [
        "environment: {A_KEY: «hunter2», USER: mem0}",
        "environment: {'A_KEY': '«hunter ''2»', \"B_KEY\": \"«hun\\\"ter»\", USER: mem0}",
        "environment: [A_KEY=«hunter2», USER=mem0, 'B_KEY=«two words»', NAMED_KEY]",
        "environment:\n  - A_KEY=«hun ter2»  # mine\n  - USER=mem0",
        "environment:\n  A_KEY: «first\n    second»\n  USER: mem0",
        "environment:\n  A_KEY: |\n    «first\n    second»\n  USER: mem0",
        "environment:\n  A_KEY: >-\n    «first\n\n    second»",
        "environment:\n  A_KEY:\n    «hunter2»",
        "x-pw: &pw «hunter2»\nenvironment: {A_KEY: *pw, B_KEY: *pw}",
        "environment: {A_KEY: !!str &a «hunter2»}",
        "environment:\n  - JWT_SECRET=${JWT_SECRET:?JWT_SECRET must be set}\n  - A_KEY=${A_KEY:-«two words»}",
        'command: ["redis-server", "--requirepass", "«hunter 2»", "--port", "6379"]',
        "command:\n  - --requirepass\n  - «hunter2»\n  - --port",
        "command: redis-server --requirepass «hunter2» --port 6379",
        'command: sh -c "PGPASSWORD=\'«hunt er»\' psql && export A_TOKEN=\\"«two words»\\""',
        "command: >\n  sh -c 'A_TOKEN=«hunter2»; echo $$POSTGRES_PASSWORD'",
        "build: {args: {GIT_TOKEN: «hunter2»}, context: ..}",
        "labels: {traefik.basicauth.users: '«bob:$$apr1$$x$$yz»', plain: label}",
        "basic_auth: {username: bob, password: «hunter2»}",
        "secrets: [db_password]\nsecret_list: {secrets: {db_password: {file: ./pw.txt}}}",
        "AUTH: {mode: off}\nauth-service: {image: 'mem0:1'}",
        "# A_KEY: «hunter2»\nimage: mem0 # password=«hunter2»",
        "---\nA_KEY: «hunter2»\n---\nB_KEY: «hunter2»",
        "ports: ['8432:5432']\ncommand: postgres -c max_connections=100",
    ],
)
def test_of_a_yaml_file_only_the_secret_values_go(lines: str) -> None:
    _check("docker-compose.yaml", f"{lines}\nz: 1  # the end\n")


@pytest.mark.parametrize(
    "line",
    [
        "ARG GIT_TOKEN=«hunter2»",
        "ENV A_KEY «two words»",
        'ENV A_KEY="«two words»" USER=mem0',
        'RUN git clone -c "http.token=«hunter2»" https://x && echo done',
        "psql -c \"CREATE USER x WITH PASSWORD '«two words»'\"",
        "mysql --password «hunter2» --no-password --host x",
        "# the old one: A_KEY=«hunter2»",
        "export A_KEY='«it'\"'\"'s two'\\''words»' && start",
    ],
)
def test_of_any_other_file_only_the_secret_values_go(line: str) -> None:
    _check("Dockerfile", f"FROM python:3.11\n{line}\nCMD mem0\n")


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        (".env", "A=1\n\nB_KEY='hunter2\n", 3),
        (".env", "A=1\nB_KEY: hunter2\n", 2),
        ("compose.yaml", "a: 1\nb: 'hunter2\n", 3),
        ("compose.yaml", "a: 1\nb: hunter2: c\n", 2),
    ],
)
def test_where_a_value_ends_nobody_knows_the_line_is_said_and_not_its_text(name: str, text: str, line: int) -> None:
    with pytest.raises(UnreadableTextError, match=f"line {line} is") as error:
        find_secrets(name, text)
    assert "hunter2" not in str(error.value)


def test_aliases_of_aliases_are_walked_once() -> None:
    text = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
    assert find_secrets("compose.yaml", text) == []


def test_too_deep_a_file_is_not_understood() -> None:
    with pytest.raises(UnreadableTextError):
        find_secrets("compose.yaml", "[" * 5000 + "]" * 5000)


def test_what_everybody_knows_is_not_hunted_and_of_an_account_the_password_is() -> None:
    assert hunted(["postgres", "abc", "neo4j/mem0graph", "neo4j/hunter2", "https://x", MASK]) == [
        "neo4j/mem0graph",
        "neo4j/hunter2",
        "https://x",
        "hunter2",
    ]


def test_a_short_secret_is_found_as_a_word_of_its_own_a_long_one_anywhere() -> None:
    assert [*places("test1 mytest1 test1-x", "test1")] == [(0, 5), (14, 19)]
    assert [*places("xhunter2hunter2x", "hunter2hunter2")] == [(1, 15)]


def test_spans_that_overlap_are_one_mask() -> None:
    assert masked("abcdefgh", [(1, 4), (2, 3), (3, 5), (7, 8)]) == f"a{MASK}fg{MASK}"


# --- Random secrets in random places ---

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])

_PRINTABLE = st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_categories=["C", "Z"])
_SECRETS = st.text(_PRINTABLE, min_size=6, max_size=40).filter(lambda text: not text.startswith("$"))
_WORDS = st.from_regex(r"[A-Za-z0-9_.!?%^*+~-]{6,40}", fullmatch=True)


def _scalars(node: object) -> list[str]:
    if isinstance(node, dict):
        return [text for item in node.items() for each in item for text in _scalars(each)]
    return [text for each in node for text in _scalars(each)] if isinstance(node, list) else [str(node)]


@unhurried
@given(_SECRETS, st.sampled_from([20, 80]), st.sampled_from([None, "'", '"', "|", ">"]), st.booleans(), st.booleans())
def test_no_secret_survives_in_yaml_however_it_is_written(
    secret: str, width: int, style: str | None, flow: bool, listed: bool
) -> None:
    value: object = [f"A_KEY={secret} {secret}", "USER=mem0"] if listed else {"A_KEY": f"{secret} {secret}"}
    text = yaml.safe_dump(
        {"services": {"mem0": {"environment": value}}},
        width=width,
        default_style=style,
        default_flow_style=flow,
        allow_unicode=True,
    )
    after = _mask("compose.yaml", text)
    assert secret not in after
    assert all(secret not in scalar for scalar in _scalars(yaml.safe_load(after)))
    assert MASK in after


@unhurried
@given(_SECRETS, st.sampled_from("'\""), st.sampled_from(["", "export "]), st.sampled_from(["\n", "\r\n"]))
def test_no_secret_survives_in_an_env_file_however_it_is_quoted(secret: str, quote: str, word: str, end: str) -> None:
    escaped = secret.replace("\\", "\\\\").replace(quote, f"\\{quote}")
    after = _mask(".env", f"A=1{end}{word}A_KEY={quote}{escaped}{end}{quote} # b{end}Z=2{end}")
    assert after == f"A=1{end}{word}A_KEY={quote}{MASK}{quote} # b{end}Z=2{end}"


@unhurried
@given(_WORDS, st.sampled_from(["A_KEY={}", "# A_KEY={}", "#A_KEY: {} and more", "X=--password {} y", "U=a://b:{}@c"]))
def test_no_word_survives_in_an_env_file_wherever_it_stands(secret: str, form: str) -> None:
    after = _mask(".env", f"A=1\n{form.format(secret)}\nZ=2\n")
    assert after == f"A=1\n{form.format(MASK).removesuffix(' and more')}\nZ=2\n"


@unhurried
@given(_SECRETS)
def test_no_secret_survives_in_json_and_in_a_script(secret: str) -> None:
    assert secret not in _mask("config.json", json.dumps({"llm": {"api_key": secret}}, ensure_ascii=False))
    assert secret not in _mask("start.sh", f"A_TOKEN={shlex.quote(secret)} start\n")
