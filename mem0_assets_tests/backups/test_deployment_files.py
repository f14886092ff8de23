"""The files of a deployment in a backup: as they were, without a secret, all of them or none."""

import base64
import hashlib
import os
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml
from dotenv import dotenv_values
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mem0_assets.backups.deployment_files import LARGEST_BYTES, CopiedFile, DeploymentFileError, copy_files
from mem0_assets.backups.masking import WELL_KNOWN
from mem0_assets.backups.secret_words import MASK
from mem0_assets.errors import RefusedError
from mem0_assets_tests.compose_files import INCIDENT, INCIDENT_ENV, MEM0_1, MEM0_2, SECRET, lay_out

# What no rule of places and names finds: only its value tells.
BARE = "marker-hunter-x"


def _copy(folder: Path, files: dict[str, str], **known: list[str]) -> dict[str, tuple[CopiedFile, str]]:
    source, target = lay_out(folder / "live", files), folder / "files"
    target.mkdir()
    copies = copy_files([source / name for name in files], target, secrets=known.get("secrets", []))
    assert sorted(path.name for path in target.iterdir()) == sorted(files)
    names = [copy.file.path.removeprefix("files/") for copy in copies]
    assert names == list(files)
    return {name: (copy, (target / name).read_bytes().decode()) for name, copy in zip(names, copies, strict=True)}


def _refuse(folder: Path, files: dict[str, str], **known: list[str]) -> RefusedError:
    with pytest.raises(RefusedError) as refused:
        _copy(folder, files, **known)
    assert refused.value.code == "secret_in_clear"
    assert BARE not in f"{refused.value}{refused.value!r}"
    assert [*(folder / "files").iterdir()] == []
    return refused.value


@pytest.mark.parametrize("compose", [MEM0_1, MEM0_2, INCIDENT])
def test_mem0s_own_files_keep_all_but_their_secrets(tmp_path: Path, compose: str) -> None:
    files = _copy(tmp_path, {".env": INCIDENT_ENV, "docker-compose.yaml": compose})
    (env, env_text), (_, text) = files.values()
    assert env.masked == ("POSTGRES_PASSWORD", "TELEGRAM_BOT_TOKEN")
    assert SECRET not in env_text + text
    assert dotenv_values(tmp_path / "files" / ".env") == {
        "POSTGRES_USER": "mem0_user_prd",
        "POSTGRES_DB": "mem0_prd",
        "POSTGRES_PASSWORD": MASK,
        "TELEGRAM_BOT_TOKEN": MASK,
        "TELEGRAM_CHAT_ID": "-100155",
    }
    hidden = {"POSTGRES_PASSWORD=postgres": "POSTGRES_PASSWORD", "neo4j/mem0graph": ""}
    expected = compose
    for secret, name in hidden.items():
        expected = expected.replace(secret, f"{name}={MASK}" if name else MASK)
    assert text == expected
    yaml.safe_load(text)


def test_a_copy_says_its_bytes_its_sha256_and_what_is_masked(tmp_path: Path) -> None:
    text = "# PASSWORD=a b\r\nA_KEY=hunter2\r\nB=1 # no secret\r\nURL=redis://:hunter3@cache\r\n"
    [(copy, after)] = _copy(tmp_path, {".env": text}).values()
    assert after == f"# PASSWORD={MASK}\r\nA_KEY={MASK}\r\nB=1 # no secret\r\nURL=redis://:{MASK}@cache\r\n"
    assert copy.file.bytes == copy.file.plain_bytes == len(after.encode())
    assert copy.file.sha256 == hashlib.sha256(after.encode()).hexdigest()
    assert copy.masked == ("PASSWORD", "A_KEY", "line 4")


def test_a_masked_copy_is_copied_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "once").mkdir()
    (tmp_path / "twice").mkdir()
    once = _copy(tmp_path / "once", {".env": INCIDENT_ENV, "compose.yaml": MEM0_1, "start.sh": "A_KEY='hunt er' x\n"})
    twice = _copy(tmp_path / "twice", {name: text for name, (_, text) in once.items()})
    assert {name: text for name, (_, text) in twice.items()} == {name: text for name, (_, text) in once.items()}
    assert {copy.masked for copy, _ in twice.values()} == {()}


def test_a_secret_of_one_file_is_masked_in_all_wherever_it_stands(tmp_path: Path) -> None:
    files = {
        ".env": f"A_KEY={BARE}\n",
        "notes.txt": f"it was {BARE}.\n",
        "compose.yaml": f"a: [x{BARE}y]\n# {BARE}\n",
    }
    copies = _copy(tmp_path, files)
    assert copies["notes.txt"][1] == f"it was {MASK}.\n"
    assert copies["compose.yaml"][1] == f"a: [x{MASK}y]\n# {MASK}\n"
    assert copies["compose.yaml"][0].masked == ("line 1", "line 2")


def test_a_secret_that_the_fleet_knows_is_masked_too(tmp_path: Path) -> None:
    assert _copy(tmp_path, {"notes.txt": f"{BARE} x"}, secrets=[BARE])["notes.txt"][1] == f"{MASK} x"


def test_of_a_name_and_a_password_in_one_the_password_is_masked_elsewhere(tmp_path: Path) -> None:
    files = {"compose.yaml": f"environment: [NEO4J_AUTH=neo4j/{BARE}]\ntest: use {BARE} here\n"}
    assert BARE not in _copy(tmp_path, files)["compose.yaml"][1]


@pytest.mark.parametrize(
    "compose",
    ["environment: {POSTGRES_PASSWORD: '${PG}'}\n", "environment:\n  - A_KEY=$PG\n", "u: postgres://x:${PG:?}@db/y\n"],
)
def test_a_variable_that_becomes_a_secret_is_one_whatever_it_is_called(tmp_path: Path, compose: str) -> None:
    files = _copy(tmp_path, {".env": f"PG={BARE}\nOTHER=1\n", "compose.yaml": compose})
    assert files[".env"][1] == f"PG={MASK}\nOTHER=1\n"


def test_a_password_that_is_an_ordinary_word_here_costs_that_word(tmp_path: Path) -> None:
    text = "POSTGRES_USER=mem0_prd\nPOSTGRES_PASSWORD=mem0_prd\nPOSTGRES_HOST=mem0_prd_db\n"
    after = _copy(tmp_path, {".env": text})[".env"][1]
    assert after == f"POSTGRES_USER={MASK}\nPOSTGRES_PASSWORD={MASK}\nPOSTGRES_HOST={MASK}_db\n"


@pytest.mark.parametrize("password", ["masked", "mem0-assets", "assets>", "masked by"])
def test_a_password_that_is_a_part_of_the_mask_is_no_reason_to_refuse(tmp_path: Path, password: str) -> None:
    assert _copy(tmp_path, {".env": f"A_KEY={password}\n"})[".env"][1] == f"A_KEY={MASK}\n"


@pytest.mark.parametrize("before", ["", ":", "u:"])
def test_a_secret_in_base64_refuses_all_files(tmp_path: Path, before: str) -> None:
    text = base64.b64encode(f"{before}hunter-xy".encode()).decode()
    _refuse(tmp_path, {".env": "A_KEY=hunter-xy\n", "fine.txt": "fine\n", "notes.txt": f"x-{text}\n"})


@pytest.mark.parametrize(
    ("secret", "form"),
    [
        ("p@ss w%rd", quote("p@ss w%rd", safe="")),
        ("dollar$ign", "dollar$$ign"),
        ('quo"te\\d', 'quo\\"te\\\\d'),
        ("größer-12", "gr\\u00f6\\u00dfer-12"),
        ("it's-mine", "it''s-mine"),
        ("abcdefgh", b"abcdefgh".hex()),
    ],
)
def test_a_secret_in_another_form_refuses_all_files(tmp_path: Path, secret: str, form: str) -> None:
    error = _refuse(tmp_path, {"fine.txt": "fine\n", "notes.txt": f"x {form} y\n"}, secrets=[secret])
    assert "notes.txt" in error.message
    assert error.next_step
    assert secret not in str(error)


def test_a_secret_in_a_variables_name_is_not_told_either(tmp_path: Path) -> None:
    copy, text = _copy(tmp_path, {"start.sh": f"{BARE}_key=x12345\n"}, secrets=[BARE])["start.sh"]
    assert BARE not in f"{text}{copy}"
    assert copy.masked == ("line 1", f"{MASK}_key")


# --- Files that cannot be stored ---


def _error(source: Path, target: Path) -> DeploymentFileError:
    target.mkdir()
    with pytest.raises(DeploymentFileError) as caught:
        copy_files([source], target)
    assert str(source) in caught.value.message
    assert caught.value.next_step
    assert [*target.iterdir()] == []
    return caught.value


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, "file_missing"),
        (b"x" * (LARGEST_BYTES + 1), "file_too_large"),
        (b"A_KEY=hunter2\xff", "file_not_text"),
        (b"A_KEY=hunter2\0", "file_not_text"),
        (b"A_KEY='hunter2", "file_not_understood"),
    ],
)
def test_a_file_that_cannot_be_stored_is_named_and_never_left_out(
    tmp_path: Path, content: bytes | None, code: str
) -> None:
    if content is not None:
        (tmp_path / ".env").write_bytes(content)
    error = _error(tmp_path / ".env", tmp_path / "files")
    assert error.code == code
    assert "hunter2" not in str(error)


def test_a_folder_and_a_pipe_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    assert _error(tmp_path / "pipe", tmp_path / "a").code == "file_is_no_file"
    assert _error(tmp_path / "folder", tmp_path / "b").code == "file_is_no_file"


def test_a_file_that_this_user_may_not_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "loop.env").symlink_to("loop.env")  # root may read any file, and nobody this one
    assert _error(tmp_path / "loop.env", tmp_path / "files").code == "file_unreadable"


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    lay_out(tmp_path, {"a/.env": "A=1\n", "b/.env": "A=1\n"})
    with pytest.raises(DeploymentFileError, match=r"a/\.env have one name") as caught:
        copy_files([tmp_path / "a/.env", tmp_path / "b/.env"], tmp_path)
    assert caught.value.code == "file_named_twice"


def test_a_file_as_large_as_may_be_is_stored(tmp_path: Path) -> None:
    text = "a line of a file\n" * (LARGEST_BYTES // 17)
    assert _copy(tmp_path, {"notes.txt": text})["notes.txt"][1] == text


# --- Random secrets in random places ---

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])

_WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=0x17F, exclude_categories=["C", "Z"]), min_size=6)


@unhurried
@given(
    _WORDS.map(lambda word: word.strip("'\"\\$")).filter(
        lambda word: len(word) >= 6 and word.lower() not in WELL_KNOWN
    ),
    st.lists(st.sampled_from(["it is {}", "({})", "{}", "x={}", "a://u:{}@h", "# {}", "- {}\t#", '"{}"']), min_size=1),
)
def test_a_known_secret_never_survives_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, secret: str, lines: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("random")
    text = "\n".join(line.format(secret) for line in lines)
    _, after = _copy(folder, {"notes.txt": text}, secrets=[secret])["notes.txt"]
    assert secret not in after.replace(MASK, "\n")
