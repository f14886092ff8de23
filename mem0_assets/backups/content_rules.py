"""Pure rules on what a backup's rows hold: texts, vectors, times, metadata, indexes. No count of rows shows these.

Almost all are warnings, on purpose. A backup that faithfully holds damaged rows is still the best there is: refused every
night, it would leave the newer memories without any backup, and the damage stands in the live database all the same.
Refused is only what a restore would bring nothing usable of (every text empty, every vector missing or zero), and what is
a loss since the last verified backup (a key of the metadata gone from almost all memories: update() before mem0 2.0.7
dropped them). What a person accepted once, and what therefore stands in the last verified backup, is not refused again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mem0_assets.backups.manifest import CHANGES, Manifest, Roll
from mem0_assets.live.semantics import Found, Semantics
from mem0_assets.verdicts import Reason, ReasonCode, Verdict

# A table that was loaded twice holds half of its rows twice; memories that came since only thin that out.
MANY_DUPLICATES = 0.4
# Orphaned links are normal in mem0 2.x (a delete in a fresh process leaves them); most of them are not.
MANY_ORPHANS = 0.5
# Below so many rows, a share says nothing.
FEW = 10
# A key that half of the memories had, and of which less than a twentieth is left, was not deleted memory by memory.
USUAL = 0.5
GONE = 0.95
# And a key that lost more than this, beyond the memories that went with it, is worth a look.
FADED = 0.5


@dataclass(frozen=True)
class ContentCheck:
    """What a check proves, in a sentence; and the codes that refuse a backup, of the few that may."""

    description: str
    codes: tuple[ReasonCode, ...] = ()


CONTENT_CHECKS: dict[str, ContentCheck] = {
    "contents_seen": ContentCheck("Every part of the memories' contents could be looked at, in the backup's own snapshot."),
    "hashes_match": ContentCheck("Every text is the one that mem0 hashed: the payload's hash is the md5 of its data."),
    "texts_not_empty": ContentCheck("Every memory has a text.", ("empty_texts",)),
    "scope_known": ContentCheck("Every memory says whose it is: a user_id, an agent_id or a run_id."),
    "vectors_present": ContentCheck("Every memory has a vector: without one no search finds it.", ("null_vectors",)),
    "vectors_not_zero": ContentCheck("No vector is all zeros: no search finds such a memory.", ("zero_vectors",)),
    "vectors_alike": ContentCheck("The vectors are of one embedder: of the same dimensions and, if most are, of length 1."),
    "few_duplicates": ContentCheck("Most texts stand once in their namespace: a table that was loaded twice does not."),
    "times_readable": ContentCheck("created_at and updated_at can be read as times."),
    "times_not_future": ContentCheck("No memory was written in the future."),
    "entity_links_kept": ContentCheck("Most links of mem0's entities lead to a memory that exists."),
    "searches_complete": ContentCheck(
        "A search in each of the smallest namespaces returns what is there, through whatever index the planner takes."
    ),
    "indexes_whole": ContentCheck("The collection has every index that it had, and each of them is valid."),
    "metadata_kept": ContentCheck(
        "No key of the payload is gone from memories that had it at the last verified backup.", ("keys_vanished",)
    ),
    "changes_by_mem0": ContentCheck(
        "Whatever changed in a memory since the last verified backup, mem0 says that it has touched it since."
    ),
}  # fmt: skip


@dataclass(frozen=True)
class ContentFinding:
    """What one check says: a sentence with numbers, and ids of rows as examples (of searches: namespaces; never a text).

    `code` refuses the backup; where it is None and `ok` is false, it is a warning.
    """

    check: str
    ok: bool
    sentence: str
    examples: tuple[str, ...] = ()
    code: ReasonCode | None = None


def judge_content(manifest: Manifest, previous: Manifest | None) -> list[ContentFinding]:
    """What is known of each check; one of which nothing is known is left out, and `contents_seen` says why.

    `previous` is the last verified backup's manifest.
    """
    indexes = _judge_indexes(manifest, previous)
    if manifest.semantics is None:
        unseen = ContentFinding(
            "contents_seen", False, "Its manifest says nothing of the contents: an earlier version made it."
        )
        return [unseen, indexes]
    rows = judge_semantics(manifest.semantics, previous.semantics if previous else None)
    return [*rows, *_judge_changes(manifest.roll, manifest.semantics), indexes]


def refusals(findings: list[ContentFinding]) -> Verdict:
    """The findings that refuse a backup, as a verdict."""
    return Verdict(tuple(Reason(one.code, one.sentence.rstrip(".")) for one in findings if one.code))


def warnings(findings: list[ContentFinding]) -> list[str]:
    """The sentences of those that do not."""
    return [one.sentence for one in findings if not one.ok and one.code is None]


def judge_semantics(seen: Semantics, before: Semantics | None) -> list[ContentFinding]:
    """Every rule on the rows themselves; `before` is what was seen at the last verified backup."""
    findings = [_judge_sight(seen)]
    findings += [_judge_rows(seen, before, *rule) for rule in _ROW_RULES if rule[1] in seen.found]
    findings += _judge_vectors_alike(seen)
    findings += _judge_duplicates(seen)
    findings += _judge_links(seen)
    findings += _judge_searches(seen)
    if before is None:
        findings.append(ContentFinding("metadata_kept", True, "No verified backup says which keys there were."))
    elif not {"texts", "metadata keys"} & (seen.unknown.keys() | before.unknown.keys()):
        findings.append(_judge_keys(seen, before))
    return findings


def _judge_sight(seen: Semantics) -> ContentFinding:
    why = "; ".join(f"the {part}: {why}" for part, why in seen.unknown.items())
    sentence = f"Not everything could be looked at: {why}." if why else f"Looked at {_looked_at(seen.texts, seen.rows)}"
    if not why:
        sentence += f", and at the vectors of {seen.vectors:,}."
    return ContentFinding("contents_seen", not why, sentence)


# check, rule, what such a memory has or lacks
_ROW_RULES: tuple[tuple[str, str, str], ...] = (
    ("hashes_match", "hash_mismatch", "have a text that is not the one that mem0 hashed"),
    ("texts_not_empty", "empty_texts", "have no text"),
    ("scope_known", "no_scope", "have no user_id, agent_id or run_id: mem0 lists them to nobody"),
    ("vectors_present", "null_vectors", "have no vector: no search finds them"),
    ("vectors_not_zero", "zero_vectors", "have a vector that is all zeros: no search finds them"),
    ("times_readable", "unreadable_times", "have a created_at or updated_at that is no time"),
    ("times_not_future", "future_times", "were written more than a day in the future"),
)


def _judge_rows(seen: Semantics, before: Semantics | None, check: str, rule: str, what: str) -> ContentFinding:
    """One broken row is a warning; every single one refuses the backup, by a rule that may refuse."""
    found, base = seen.found[rule], _base(seen, rule)
    codes = CONTENT_CHECKS[check].codes
    refused = bool(codes) and _every(seen, rule) and not (before and _every(before, rule))
    sentence = f"{found.rows:,} of {_looked_at(base, seen.rows)} {what}."
    return ContentFinding(check, found.rows == 0, sentence, found.examples, codes[0] if refused else None)


def _base(seen: Semantics, rule: str) -> int:
    """How many rows were looked at for a rule."""
    if rule == "null_vectors":
        return seen.rows
    return seen.vectors if rule == "zero_vectors" else seen.texts


def _every(seen: Semantics, rule: str) -> bool:
    found = seen.found.get(rule, Found(0))
    return 0 < found.rows == _base(seen, rule)


def _judge_vectors_alike(seen: Semantics) -> Iterator[ContentFinding]:
    """Vectors of another length beside those of length 1 are of another embedder, or damaged.

    Where most are of another length, the embedder does not normalise: a cosine search does not care.
    """
    if not {"non_unit_vectors", "other_dimensions"} <= seen.found.keys():
        return
    lengths, dimensions = seen.found["non_unit_vectors"], seen.found["other_dimensions"]
    odd = lengths.rows if lengths.rows < USUAL * seen.vectors else 0
    sentence = (
        f"Of {_looked_at(seen.vectors, seen.rows)} {odd:,} have a vector that is not of length 1 as the others are"
    )
    sentence += f", and {dimensions.rows:,} one of other dimensions."
    examples = dict.fromkeys((lengths.examples if odd else ()) + dimensions.examples)
    yield ContentFinding("vectors_alike", not odd and not dimensions.rows, sentence, tuple(examples))


def _judge_duplicates(seen: Semantics) -> Iterator[ContentFinding]:
    found = seen.found.get("duplicates")
    if found is None:
        return
    ok = found.rows < FEW or found.rows < MANY_DUPLICATES * seen.texts
    sentence = f"{found.rows:,} of {_looked_at(seen.texts, seen.rows)} say what another one of their namespace says"
    sentence += f" ({_share(found.rows, seen.texts)})."
    yield ContentFinding("few_duplicates", ok, sentence, found.examples)


def _judge_links(seen: Semantics) -> Iterator[ContentFinding]:
    found = seen.found.get("orphaned_links")
    if found is None:  # no entities, which is normal: mem0 makes them with spaCy only
        if "entity links" not in seen.unknown:
            yield ContentFinding("entity_links_kept", True, "There are no entities.")
        return
    ok = found.rows < FEW or found.rows <= MANY_ORPHANS * seen.links
    share = _share(found.rows, seen.links)
    sentence = f"{found.rows:,} of {seen.links:,} links of entities lead to no memory ({share})."
    yield ContentFinding("entity_links_kept", ok, sentence, found.examples)


def _judge_searches(seen: Semantics) -> Iterator[ContentFinding]:
    found = seen.found.get("short_searches")
    if found is None:
        return
    sentence = "A search in each of the smallest namespaces returns what is there."
    if found.rows:
        sentence = f"In {found.rows} of the smallest namespaces a search returns less than is there"
        sentence += f" ({', '.join(found.examples)})."
    yield ContentFinding("searches_complete", not found.rows, sentence, found.examples)


def _judge_keys(seen: Semantics, before: Semantics) -> ContentFinding:
    """Keys that memories lost, beyond what went with memories that are gone. New keys come with new versions of mem0."""
    now, then = _scaled(seen), _scaled(before)
    left = min(1.0, seen.rows / before.rows) if before.rows else 0.0
    faded, gone = [], False
    for key, rows in then.items():
        expected = rows * left
        lost = 1 - now.get(key, 0) / expected if expected else 0.0
        if rows < FEW or lost <= FADED:
            continue
        faded.append(f"{key} ({rows:,.0f} to {now.get(key, 0):,.0f})")
        gone = gone or (lost >= GONE and rows >= USUAL * before.rows)
    if not faded:
        return ContentFinding("metadata_kept", True, f"Each of {len(then)} keys of the payload is where it was.")
    sentence = f"Memories lost keys of their payload since the last verified backup: {', '.join(faded[:10])}."
    return ContentFinding("metadata_kept", False, sentence, code="keys_vanished" if gone else None)


def _scaled(seen: Semantics) -> Mapping[str, float]:
    """The keys' rows, of all memories, where only some were looked at."""
    return {key: rows * seen.rows / max(1, seen.texts) for key, rows in seen.keys.items()}


def _judge_changes(roll: Roll | None, seen: Semantics) -> Iterator[ContentFinding]:
    """Changes that mem0 does not know of; what could not be looked at stands in `unknown`, as with all else."""
    if roll is None or CHANGES in seen.unknown:
        return
    if roll.changes is None:
        yield ContentFinding("changes_by_mem0", True, "No verified backup has a roll of this table to compare with.")
        return
    found, both = roll.changes.changed, roll.changes.both
    sentence = f"Of {both:,} memories that {roll.changes.since} holds too, {found.rows:,} changed"
    sentence += " although mem0 does not say that it touched them since."
    if found.rows >= FEW and found.rows >= USUAL * both:
        sentence += " So many at once are a migration, or a restore of an older state."
    yield ContentFinding("changes_by_mem0", not found.rows, sentence, found.examples)


def _judge_indexes(manifest: Manifest, previous: Manifest | None) -> ContentFinding:
    """mem0 without a vector index is a choice (hnsw: false), one that is gone since the last backup is not.

    Nor is none at all: mem0 makes the primary key with the table, and without it two memories can share an id.
    """
    names = {index.name for index in manifest.indexes}
    wrong = [f"{index.name} is not valid" for index in manifest.indexes if not index.valid]
    wrong += (
        [f"{index.name} ({index.method}) is gone" for index in previous.indexes if index.name not in names]
        if previous
        else []
    )
    wrong += [] if names else ["there is none, not even the primary key"]
    sentence = f"Its {len(names)} indexes are there, and valid."
    if wrong:
        sentence = f"The collection's indexes: {', '.join(wrong)}."
    return ContentFinding("indexes_whole", not wrong, sentence)


def _looked_at(looked_at: int, rows: int) -> str:
    return f"{rows:,} memories" if looked_at == rows else f"{looked_at:,} memories looked at ({rows:,} in all)"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "0%"
