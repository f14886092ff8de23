"""The pure rules on what rows hold: what is told, what refuses a backup, and what is normal."""

from dataclasses import replace
from pathlib import Path

import pytest

from mem0_assets.backups.content_rules import (
    CONTENT_CHECKS,
    ContentFinding,
    judge_content,
    judge_semantics,
    refusals,
    warnings,
)
from mem0_assets.backups.files import write_json
from mem0_assets.backups.manifest import CHANGES, MANIFEST, BackupFile, Changes, Manifest, Roll, read_manifest
from mem0_assets.backups.roll import ROLL
from mem0_assets.live.indexes import Index
from mem0_assets.live.roll import RECIPE
from mem0_assets.live.semantics import Found, Semantics
from mem0_assets_tests.forged import forge, forged_deployment

ROWS = 1000
RULES = (
    "hash_mismatch",
    "empty_texts",
    "no_scope",
    "unreadable_times",
    "future_times",
    "null_vectors",
    "zero_vectors",
    "non_unit_vectors",
    "other_dimensions",
    "duplicates",
    "orphaned_links",
    "short_searches",
)
KEYS = {"data": ROWS, "hash": ROWS, "user_id": ROWS, "source": 700, "mood": 30, "rare": 9}
UNCHANGED = Roll(RECIPE, Changes("20260102_023000", 990, Found(0)))
CLEAN = Semantics(ROWS, ROWS, 500, dict.fromkeys(RULES, Found(0)), KEYS, 100, {}, 0.1)


def with_found(**found: int) -> Semantics:
    return replace(CLEAN, found={**CLEAN.found, **{rule: Found(rows, ("an-id",)) for rule, rows in found.items()}})


def with_keys(seen: Semantics = CLEAN, **keys: int) -> Semantics:
    return replace(seen, keys={**seen.keys, **keys})


def wrong(findings: list[ContentFinding]) -> dict[str, str | None]:
    """The checks that fail, each with its code."""
    return {one.check: one.code for one in findings if not one.ok}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    folder = forge(forged_deployment(tmp_path_factory.mktemp("content")), "20260103_023000", 1)
    plain = read_manifest(folder)
    return replace(plain, semantics=CLEAN, roll=UNCHANGED, files=(*plain.files, BackupFile(ROLL, 1, "", 1)))


def test_clean_rows_pass_every_check_and_each_says_what_it_saw(manifest: Manifest) -> None:
    findings = judge_content(manifest, manifest)
    assert {one.check for one in findings} == CONTENT_CHECKS.keys()
    assert wrong(findings) == {}
    assert warnings(findings) == []
    assert refusals(findings).ok
    assert all(one.sentence.endswith(".") for one in findings)
    assert findings[0].sentence == "Looked at 1,000 memories, and at the vectors of 500."


@pytest.mark.parametrize(
    ("found", "check", "sentence"),
    [
        ({"hash_mismatch": 3}, "hashes_match", "3 of 1,000 memories have a text that is not the one that mem0 hashed."),
        ({"empty_texts": 999}, "texts_not_empty", "999 of 1,000 memories have no text."),
        (
            {"no_scope": 1},
            "scope_known",
            "1 of 1,000 memories have no user_id, agent_id or run_id: mem0 lists them to nobody.",
        ),
        ({"null_vectors": 2}, "vectors_present", "2 of 1,000 memories have no vector: no search finds them."),
        (
            {"zero_vectors": 499},
            "vectors_not_zero",
            "499 of 500 memories looked at (1,000 in all) have a vector that is all zeros: no search finds them.",
        ),
        (
            {"non_unit_vectors": 4, "other_dimensions": 1},
            "vectors_alike",
            "Of 500 memories looked at (1,000 in all) 4 have a vector that is not of length 1 as the others are, "
            "and 1 one of other dimensions.",
        ),
        (
            {"duplicates": 500},
            "few_duplicates",
            "500 of 1,000 memories say what another one of their namespace says (50%).",
        ),
        (
            {"unreadable_times": 5},
            "times_readable",
            "5 of 1,000 memories have a created_at or updated_at that is no time.",
        ),
        ({"future_times": 6}, "times_not_future", "6 of 1,000 memories were written more than a day in the future."),
        ({"orphaned_links": 60}, "entity_links_kept", "60 of 100 links of entities lead to no memory (60%)."),
        (
            {"short_searches": 1},
            "searches_complete",
            "In 1 of the smallest namespaces a search returns less than is there (an-id).",
        ),
    ],
)
def test_damaged_rows_are_a_warning_with_numbers_and_examples(found: dict[str, int], check: str, sentence: str) -> None:
    findings = judge_semantics(with_found(**found), CLEAN)
    assert wrong(findings) == {check: None}
    assert warnings(findings) == [sentence]
    [finding] = [one for one in findings if not one.ok]
    assert finding.examples == ("an-id",)


@pytest.mark.parametrize(
    "found",
    [
        {"non_unit_vectors": 500},  # an embedder that does not normalise
        {"non_unit_vectors": 250},
        {"duplicates": 399},  # add(infer=False) never looks for duplicates
        {"orphaned_links": 50},  # a delete in a fresh process leaves them
    ],
)
def test_what_mem0_does_by_itself_is_no_warning(found: dict[str, int]) -> None:
    assert wrong(judge_semantics(with_found(**found), CLEAN)) == {}


def test_a_handful_of_rows_makes_no_share() -> None:
    few = replace(with_found(duplicates=9, orphaned_links=9), rows=10, texts=10, links=9)
    assert wrong(judge_semantics(few, None)) == {}


@pytest.mark.parametrize(
    ("found", "check", "code"),
    [
        ({"empty_texts": ROWS}, "texts_not_empty", "empty_texts"),
        ({"null_vectors": ROWS}, "vectors_present", "null_vectors"),
        ({"zero_vectors": 500}, "vectors_not_zero", "zero_vectors"),
    ],
)
def test_rows_of_which_a_restore_would_bring_nothing_usable_refuse_a_backup_until_a_person_accepts_one(
    found: dict[str, int], check: str, code: str
) -> None:
    useless = with_found(**found)
    assert wrong(judge_semantics(useless, CLEAN)) == wrong(judge_semantics(useless, None)) == {check: code}
    assert refusals(judge_semantics(useless, None)).codes == [code]
    assert warnings(judge_semantics(useless, None)) == []
    assert wrong(judge_semantics(useless, useless)) == {check: None}


def test_an_empty_collection_is_not_also_refused_for_its_contents() -> None:
    nothing = replace(CLEAN, rows=0, texts=0, vectors=0, keys={}, links=0)
    assert wrong(judge_semantics(nothing, None)) == {}


@pytest.mark.parametrize(
    ("now", "code"),
    [
        (with_keys(source=36), None),
        (with_keys(source=35), "keys_vanished"),
        (with_keys(source=0), "keys_vanished"),
        (with_keys(mood=0), None),  # not a usual key: a few memories may have been deleted
        (with_keys(source=349), None),
    ],
)
def test_a_usual_key_gone_from_almost_all_memories_refuses_and_one_that_faded_warns(
    now: Semantics, code: str | None
) -> None:
    assert wrong(judge_semantics(now, CLEAN)) == {"metadata_kept": code}


@pytest.mark.parametrize(
    "now",
    [
        with_keys(source=350, mood=15, rare=0),
        with_keys(new=ROWS),
        replace(with_keys(source=200, mood=10), rows=300, texts=300),  # gone with their memories
        replace(with_keys(source=700), rows=9000, texts=9000),  # others came, without it
        replace(with_keys(source=70, data=100, hash=100, user_id=100, mood=3), texts=100),  # of a tenth of the rows
    ],
)
def test_keys_that_went_with_their_memories_or_are_new_are_no_loss(now: Semantics) -> None:
    assert wrong(judge_semantics(now, CLEAN)) == {}


def test_the_sentence_names_the_keys_and_their_numbers() -> None:
    [sentence] = warnings(judge_semantics(with_keys(source=100, mood=1), CLEAN))
    assert sentence == (
        "Memories lost keys of their payload since the last verified backup: source (700 to 100), mood (30 to 1)."
    )


def test_what_could_not_be_looked_at_has_neither_passed_nor_failed() -> None:
    unknown = dict.fromkeys(("texts", "metadata keys", "entity links"), "it took longer than 15 s")
    seen = replace(CLEAN, found={"null_vectors": Found(0)}, keys={}, unknown=unknown)
    findings = judge_semantics(seen, CLEAN)
    assert {one.check for one in findings} == {"contents_seen", "vectors_present"}
    assert wrong(findings) == {"contents_seen": None}
    assert "the texts: it took longer than 15 s; the metadata keys: " in findings[0].sentence


def test_keys_are_not_compared_with_what_was_not_seen() -> None:
    blind = replace(CLEAN, keys={}, unknown={"metadata keys": "it took longer than 15 s"})
    assert "metadata_kept" not in {one.check for one in judge_semantics(CLEAN, blind)}
    first = next(one for one in judge_semantics(CLEAN, None) if one.check == "metadata_kept")
    assert (first.ok, first.sentence) == (True, "No verified backup says which keys there were.")


def test_a_deployment_without_entities_has_no_link_to_lose() -> None:
    without = replace(CLEAN, found={rule: found for rule, found in CLEAN.found.items() if rule != "orphaned_links"})
    [finding] = [one for one in judge_semantics(without, None) if one.check == "entity_links_kept"]
    assert (finding.ok, finding.sentence) == (True, "There are no entities.")


def test_an_index_that_is_gone_or_not_valid_is_told(manifest: Manifest) -> None:
    hnsw, key = Index("memories_hnsw_idx", "hnsw"), Index("memories_pkey", "btree")
    whole = replace(manifest, indexes=(hnsw, key))
    assert wrong(judge_content(whole, whole)) == {}
    assert wrong(judge_content(replace(whole, indexes=(key,)), None)) == {}  # hnsw: false is a choice
    gone = judge_content(replace(whole, indexes=(replace(key, valid=False),)), whole)
    assert warnings(gone) == ["The collection's indexes: memories_pkey is not valid, memories_hnsw_idx (hnsw) is gone."]
    [bare] = warnings(judge_content(replace(whole, indexes=()), None))
    assert bare == "The collection's indexes: there is none, not even the primary key."


def test_a_manifest_of_an_earlier_version_says_nothing_and_is_not_refused(manifest: Manifest) -> None:
    earlier = replace(manifest, semantics=None)
    findings = judge_content(earlier, manifest)
    assert {one.check for one in findings} == {"contents_seen", "indexes_whole"}
    assert wrong(findings) == {"contents_seen": None}
    assert wrong(judge_content(manifest, earlier)) == {}


def test_what_was_seen_is_in_the_manifest_as_it_was(tmp_path: Path, manifest: Manifest) -> None:
    damaged = replace(manifest, semantics=with_found(null_vectors=3))
    write_json(tmp_path / MANIFEST, damaged.as_json())
    assert read_manifest(tmp_path) == damaged


def judged_changes(manifest: Manifest) -> list[ContentFinding]:
    return [one for one in judge_content(manifest, manifest) if one.check == "changes_by_mem0"]


@pytest.mark.parametrize(
    ("rows", "more"), [(1, ""), (494, ""), (495, " So many at once are a migration, or a restore of an older state.")]
)
def test_changes_that_mem0_does_not_know_of_are_a_warning_however_many(
    manifest: Manifest, rows: int, more: str
) -> None:
    changed = replace(manifest, roll=Roll(RECIPE, Changes("20260102_023000", 990, Found(rows, ("an-id",)))))
    sentence = f"Of 990 memories that 20260102_023000 holds too, {rows} changed"
    sentence += f" although mem0 does not say that it touched them since.{more}"
    assert judged_changes(changed) == [ContentFinding("changes_by_mem0", False, sentence, ("an-id",))]
    assert sentence in warnings(judge_content(changed, manifest))


def test_without_an_earlier_roll_nothing_has_changed_and_without_a_roll_nothing_is_said(manifest: Manifest) -> None:
    [first] = judged_changes(replace(manifest, roll=Roll(RECIPE, None)))
    assert first.ok
    assert first.sentence == "No verified backup has a roll of this table to compare with."
    assert judged_changes(replace(manifest, roll=None)) == []


def test_a_roll_that_could_not_be_compared_is_told_as_something_unseen(manifest: Manifest) -> None:
    unread = replace(CLEAN, unknown={CHANGES: "the roll of 20260102_023000 is damaged"})
    findings = judge_content(replace(manifest, semantics=unread, roll=Roll(RECIPE, None)), manifest)
    assert "changes_by_mem0" not in {one.check for one in findings}
    assert warnings(findings) == [
        "Not everything could be looked at: the changes since the last backup: the roll of 20260102_023000 is damaged."
    ]
