"""Where a configuration has drifted: pure rules from what every source says to differences, each with both values.

Like is held against like: a source against what the same source said before, the files against the container that was
started from them. Whoever compares whatever was readable today with whatever was readable yesterday tells of changes
that never were.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

from mem0_assets.live.configuration import IN_FORCE, SOURCES, Configuration, Source
from mem0_assets.live.fingerprints import comparable
from mem0_assets.live.settings import DEFAULTS, MEANINGS, Setting

Kind = Literal["configuration_changed", "next_start_differs", "not_guarded", "embedder_mismatch"]

# Identity is the census' matter, which looks thirty times as often.
IDENTITY: frozenset[Setting] = frozenset({"cluster", "database_oid", "table_oid", "dimensions"})
# What decides which data mem0 finds, and whether it can ask for them. What the next start would do to it is told first.
VITAL: tuple[Setting, ...] = (
    "database",
    "user",
    "password",
    "host",
    "port",
    "collection",
    "data_place",
    "embedder_dimensions",
)
# Searches return noise, history.db begins anew, another server starts: nothing is lost yet.
SERIOUS: tuple[Setting, ...] = (
    "embedder_model",
    "embedder_provider",
    "history_path",
    "history_place",
    "postgres_port",
    "server_port",
    "server_image",
    "server_image_id",
    "postgres_image",
    "postgres_image_id",
    "server_version",
    "pgvector_version",
)
SLIGHT: tuple[Setting, ...] = ("llm_model",)
IMAGES: frozenset[Setting] = frozenset({"server_image", "postgres_image"})  # one that is built has no name in the file
OF_POSTGRES: frozenset[Setting] = frozenset(
    {"data_place", "postgres_port", "postgres_image", "postgres_image_id", "postgres_created"}
)
ON_DISK: tuple[Setting, ...] = tuple(one for one in (*VITAL, *SERIOUS) if not one.endswith(("_image_id", "_version")))
GUARDED: tuple[Setting, ...] = ("database", "collection")
NOTHING = Configuration({}, {})


@dataclass(frozen=True)
class Difference:
    """`after` is what is there now or, for a `next_start_differs`, what would be; `before` is what it is held against.

    None where it is not set. `source` says `after`.
    """

    kind: Kind
    setting: Setting
    before: str | None
    after: str | None
    source: Source
    against: Source

    @property
    def values(self) -> tuple[Kind, Setting, str | None, str | None]:
        """What it is, whoever says it: a person accepts the thing, and not the source that was heard that day."""
        return self.kind, self.setting, self.before, self.after

    @property
    def grave(self) -> bool:
        """Whether data become unreachable, or cannot be asked for."""
        return self.setting in VITAL

    def sentence(self) -> str:
        """What differs, with both values."""
        what, before, after = MEANINGS[self.setting], self.before or "not set", self.after or "not set"
        match self.kind:
            case "configuration_changed":
                return f"{what} changed from {before} to {after}, by {SOURCES[self.source]}"
            case "next_start_differs":
                return f"{what} is {before} by {SOURCES[self.against]}, and the next start would use {after}"
            case "not_guarded":
                return f"{what} that mem0 uses is {after}, by {SOURCES[self.source]}; fleet.yaml guards {before}"
            case "embedder_mismatch":
                return f"{what} are {after} by {SOURCES[self.source]}, and the vectors of the table have {before}"

    def as_json(self) -> dict[str, str | None]:
        return dict(vars(self))


def differences(
    now: Configuration, known: Configuration, word: Configuration | None, silent: Collection[Source] = ()
) -> list[Difference]:
    """All differences of now: from what is `known` (accepted, or first seen), and within itself.

    `word` is the last configuration that a person accepted: what differed within itself then is meant, while it stays so.
    `silent` are the sources that do not answer now, and did: a server that restarts, a Docker that hangs.
    """
    found = [one for setting in (*VITAL, *SERIOUS, *SLIGHT) if (one := changed(now, known, setting))]
    meant = {one.values for one in within(word)} if word else set()
    return found + [one for one in within(now, known, silent) if one.values not in meant]


def within(now: Configuration, known: Configuration = NOTHING, silent: Collection[Source] = ()) -> list[Difference]:
    """What contradicts itself: the files and what runs, mem0 and fleet.yaml, the embedder and the vectors.

    What a source has said all along is no news only because one that is believed more is `silent`: while mem0's server
    restarts, its container says what it was started with, and not what the dashboard has changed since.
    """
    unheard = Configuration({source: said for source, said in known.said.items() if source in silent}, {})
    return [*_next_start(now, unheard), *_not_guarded(now, known, unheard), *_mismatch(now, known, unheard)]


def changed(now: Configuration, known: Configuration, setting: Setting) -> Difference | None:
    """Whether what is in force has changed, by the first source that could be read both times and says anything of it.

    Where its container cannot be asked, the files are held against themselves.
    """
    for source in (*IN_FORCE, "files"):
        if source not in now.said or source not in known.said:
            continue
        if source == "files" and container_of(setting) in now.said:
            return None  # which they are held against, in `within`
        before, after = known.of(source, setting), now.of(source, setting)
        if before is None and after is None:
            continue
        if before is None and setting == "embedder_dimensions" and after == now.of("database", "dimensions"):
            return None  # a newer server says more, and what it says fits
        return None if _same(setting, before, after) else _difference(setting, before, after, source)
    return None


def _difference(setting: Setting, before: str | None, after: str | None, source: Source) -> Difference:
    return Difference("configuration_changed", setting, before, after, source, source)


def _next_start(now: Configuration, unheard: Configuration) -> Iterator[Difference]:
    """What the files on disk would start, held against the containers that run; without those, against fleet.yaml."""
    for setting in ON_DISK:
        pair = _of_next_start(now, setting)
        if pair is None:
            continue
        before, after, source, against = pair
        last = unheard.of(container_of(setting), setting)
        if not _same(setting, before, after) and (last is None or not _same(setting, last, after)):
            yield Difference("next_start_differs", setting, before, after, source, against)


def _of_next_start(now: Configuration, setting: Setting) -> tuple[str | None, str | None, Source, Source] | None:
    """What is used now, and what would be, with who says each; None where one of them is not known."""
    override, served = now.of("settings", setting), now.of("server", setting)
    if override is not None:  # whatever the files say: mem0 reads its settings last
        return (served, override, "settings", "server") if served is not None else None
    if "files" not in now.said:
        return None
    after, container = now.of("files", setting), container_of(setting)
    if container in now.said:
        silent = after is None and (setting in IMAGES or not _whole(now, container))
        return None if silent else (now.of(container, setting), after, "files", container)
    guarded = now.of("fleet", setting)
    if after is None or guarded is None or not _comparable(now, setting):
        return None
    return guarded, after, "files", "fleet"


def container_of(setting: Setting) -> Source:
    """The container that a setting is of."""
    return "postgres_container" if setting in OF_POSTGRES else "server_container"


def _whole(now: Configuration, container: Source) -> bool:
    """Whether the files say all of this container: a compose file does, an env file alone does not."""
    always: Setting = "data_place" if container == "postgres_container" else "history_place"
    return now.of("files", always) is not None


def _comparable(now: Configuration, setting: Setting) -> bool:
    """fleet.yaml may name another role than mem0's, one that only reads; then their passwords are two as well."""
    if setting == "user":
        return False
    return setting != "password" or now.of("files", "user") == now.of("fleet", "user")


def _not_guarded(now: Configuration, known: Configuration, unheard: Configuration) -> Iterator[Difference]:
    """mem0 uses a database or a collection that fleet.yaml does not name: every backup is one of something else."""
    for setting in GUARDED:
        guarded, used = now.of("fleet", setting), now.in_force(setting)
        if used and _stands_in(setting, *used, known, unheard):
            continue
        if guarded and used and used[0] != guarded:
            yield Difference("not_guarded", setting, guarded, used[0], used[1], "fleet")


def _mismatch(now: Configuration, known: Configuration, unheard: Configuration) -> Iterator[Difference]:
    """Vectors of other dimensions can neither be stored nor be searched for: mem0 drops them, some versions silently."""
    column, gives = now.of("database", "dimensions"), now.in_force("embedder_dimensions")
    if gives is None and (planned := now.of("files", "embedder_dimensions")):
        gives = planned, "files"
    if gives and _stands_in("embedder_dimensions", *gives, known, unheard):
        return
    if column and gives and gives[0] != column:
        yield Difference("embedder_mismatch", "embedder_dimensions", column, gives[0], gives[1], "database")


def _stands_in(setting: Setting, value: str, source: Source, known: Configuration, unheard: Configuration) -> bool:
    """Whether `source` has said this all along, and is listened to only because one that is believed more is unheard."""
    better = unheard.in_force(setting)
    order = [*IN_FORCE, "files"]
    return bool(
        better and order.index(better[1]) < order.index(source) and _same(setting, known.of(source, setting), value)
    )


def _same(setting: Setting, before: str | None, after: str | None) -> bool:
    """Whether both are one value: what is not set is mem0's own default; fingerprints of two keys say nothing."""
    if setting == "password" and before and after and not comparable(before, after):
        return True
    default = DEFAULTS.get(setting)
    return (before or default) == (after or default)
