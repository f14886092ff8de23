"""Which configuration of a deployment is the accepted one, as its journal has it: first seen, or a person's word.

What is seen for the first time is accepted by itself, and so is the first word of a source that was silent before (no
Docker, no key): there is nothing to hold it against. Everything after that needs a person, with a reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.files import plain_disk_errors
from mem0_assets.live.configuration import Configuration, Source, named, read_configuration
from mem0_assets.live.drift import Difference, differences
from mem0_assets.live.fingerprints import fingerprint_in
from mem0_assets.live.settings import Settings

FIRST_SEEN = "first seen"
OURSELVES = "mem0-assets"
# The sensor does not wait for a backup that runs: the next look notes it.
LOCK_SECONDS = 1.0


@dataclass(frozen=True)
class Accepted:
    """`known` is what is held against now; `word` is what a person accepted last, None where nobody ever did."""

    known: Configuration
    word: Configuration | None = None


def configuration_now(catalog: Catalog) -> Configuration:
    """What is there now, secrets as this deployment's fingerprints. Raises BackupsFolderError, NoSpaceError."""
    with plain_disk_errors(catalog.root):
        catalog.make_root()
        fingerprint = fingerprint_in(catalog.root)
    return read_configuration(catalog.deployment, fingerprint)


def accepted_configuration(catalog: Catalog) -> Accepted | None:
    """The accepted configuration; None before the first look."""
    events = list(catalog.journal.events("configuration_accepted"))
    if not events:
        return None
    words = [event for event in events if event["by"] != OURSELVES]
    word = Configuration.from_json(words[-1]["configuration"]) if words else None
    return Accepted(Configuration.from_json(events[-1]["configuration"]), word)


def drift(catalog: Catalog, now: Configuration) -> list[Difference]:
    """What differs from the accepted configuration, and within itself. Notes what is seen for the first time.

    Raises BusyError where that must be noted and a backup runs, BackupsFolderError, NoSpaceError.
    """
    with plain_disk_errors(catalog.root):
        accepted = accepted_configuration(catalog)
        fresh = {source: said for source, said in now.said.items() if not accepted or source not in accepted.known.said}
        if fresh:
            accepted = _note(catalog, accepted, fresh)
    assert accepted is not None
    return differences(now, accepted.known, accepted.word, _silent(catalog, accepted, now))


def silent(catalog: Catalog, now: Configuration) -> set[Source]:
    """The sources that spoke before and do not answer now: a server that restarts, a Docker that hangs.

    Not those that fleet.yaml names no more. Raises BackupsFolderError.
    """
    with plain_disk_errors(catalog.root):
        accepted = accepted_configuration(catalog)
    return _silent(catalog, accepted, now) if accepted else set()


def _silent(catalog: Catalog, accepted: Accepted, now: Configuration) -> set[Source]:
    return {*accepted.known.said} & named(catalog.deployment) - {*now.said}


def _note(catalog: Catalog, accepted: Accepted | None, fresh: Mapping[Source, Settings]) -> Accepted:
    known = Configuration({**(accepted.known.said if accepted else {}), **fresh}, {})
    with catalog.locked(seconds=LOCK_SECONDS):
        catalog.journal.record("configuration_accepted", configuration=known.as_json(), by=OURSELVES, reason=FIRST_SEEN)
    return Accepted(known, accepted.word if accepted else None)


def accept_configuration(catalog: Catalog, *, by: str, reason: str) -> list[Difference]:
    """A person's word that the configuration is meant as it is now; the differences that it ends.

    What could not be read now keeps the value that was known. Raises BusyError, BackupsFolderError, NoSpaceError.
    """
    now = configuration_now(catalog)
    meant = drift(catalog, now)
    with catalog.locked(), plain_disk_errors(catalog.root):
        accepted = accepted_configuration(catalog)
        said = {**(accepted.known.said if accepted else {}), **now.said}
        content = Configuration(said, now.unknown).as_json()
        catalog.journal.record("configuration_accepted", configuration=content, by=by, reason=reason)
    return meant
