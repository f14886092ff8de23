"""A restore: what was there kept, the writers stopped, the backup loaded beside, verified, swapped, and reported.

The steps stand in this order in `restore`, and each is a method of `Restore`, so that a command and a run of Dagster do the
same. Until the databases are swapped every failure, a kill included, leaves what is live as it was.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mem0_assets.backups.catalog import Catalog
from mem0_assets.backups.files import sha256_of
from mem0_assets.backups.formats.source import Progress
from mem0_assets.backups.inventory import Backup, legacy_dump
from mem0_assets.backups.safety import SafetyBackup, keep_what_is_there
from mem0_assets.backups.validation import verify_files
from mem0_assets.errors import ConfigurationError, Mem0AssetsError, RefusedError, TableMissingError
from mem0_assets.fleet import Deployment
from mem0_assets.live.census import take_census
from mem0_assets.live.postgres import Connection, connect
from mem0_assets.restores import history_swap
from mem0_assets.restores.beside import Place, load_beside, places
from mem0_assets.restores.checks import check_application
from mem0_assets.restores.ownership import carry_settings
from mem0_assets.restores.plan import plan_restore
from mem0_assets.restores.record import Record, alone, new_record
from mem0_assets.restores.report import RestoreReport, report_of
from mem0_assets.restores.server import admin_of, databases, working
from mem0_assets.restores.settling import Tell, finish, is_swapped, roll_back, settle, to_be_settled
from mem0_assets.restores.swap import swap
from mem0_assets.restores.verification import expected_of, judge_replay, replay_history, verify_memories
from mem0_assets.restores.writers import require_nobody, running_writers, stop_writers
from mem0_assets.verdicts import OK, Verdict, refused

CHECK_SECONDS = 3600.0


def restore(
    deployment: Deployment,
    backup: str = "latest",
    *,
    by: str,
    confirm: str,
    end_sessions: bool = False,
    safety_backup: bool = True,
    tell: Tell = lambda what: None,
    progress: Progress = lambda plain_bytes: None,
) -> RestoreReport:
    """Put a backup ("latest" is the newest verified one) in the place of what is live; `confirm` is the deployment's name.

    One that was interrupted is settled first; where that finished one of this backup, its report is the answer, and no new
    one is begun.
    Raises ConfigurationError without the confirmation, RefusedError, SessionsHeldError, NoSpaceError, LoadFailedError,
    UnreachableError, BusyError: then what was live is live, and the record says why.
    """
    require_confirmation(deployment, confirm)
    with holding(deployment) as catalog:
        settled = settle(deployment, catalog, tell)
        if settled and settled.state == "done" and "undoing" not in settled.steps:
            if backup in ("latest", settled.backup):
                return settled
            tell(f"that brought back {settled.backup}: now {backup}, as asked")
        with beginning(deployment, catalog, backup, by=by, end_sessions=end_sessions, tell=tell) as work:
            if safety_backup:
                work.keep_what_is_there(progress)
            work.stop_writers()
            work.load()
            if not work.verify().ok:
                return work.give_up("what came back is not what the backup claims")
            work.swap()
        return work.finish()


def require_confirmation(deployment: Deployment, confirm: str) -> None:
    """Raises ConfigurationError unless the deployment's own name was given."""
    if confirm != deployment.name:
        raise ConfigurationError(
            f"not confirmed: the name of the deployment is {deployment.name}",
            next_step=f"See `mem0-assets restore {deployment.name} --plan`, then say --confirm {deployment.name}",
        )


@contextmanager
def holding(deployment: Deployment) -> Iterator[Catalog]:
    """Nobody else restores, backs up or prunes this deployment meanwhile. Raises BusyError."""
    catalog = Catalog(deployment)
    with alone(deployment), catalog.locked():
        yield catalog


@contextmanager
def beginning(
    deployment: Deployment, catalog: Catalog, backup: str, *, by: str, end_sessions: bool, tell: Tell
) -> Iterator["Restore"]:
    """A new restore, once its plan and its files allow it. Whatever fails before its swap is rolled back."""
    plan = plan_restore(deployment, backup, by_id=False)  # the person has seen the ids; the files are read next
    if not plan.against.ok:
        raise RefusedError(plan.against.sentence(), next_step="; ".join(plan.steps))
    tell("checking the files of the backup")
    files = verify_files(plan.backup.path)
    if not files.verdict.ok:
        step = f"Restore another one: mem0-assets backups {deployment.name}"
        raise RefusedError(f"{plan.backup.backup} is damaged: {files.verdict.sentence()}", next_step=step)
    with working(deployment) as connection:
        there = databases(connection)
    record = new_record(deployment)
    where = places(deployment, plan.backup, there, record.restore)
    _require_free(where, there)
    contents = files.contents
    work = Restore(deployment, catalog, record, plan.backup, where, there, contents.collection, end_sessions, tell)
    work.made_by, work.live_before = contents.server_version, plan.live.total
    record.note(
        "begun",
        deployment=deployment.name,
        backup=plan.backup.backup,
        by=by,
        end_sessions=end_sessions,
        places=[place.as_json() for place in where],
        history=plan.history is not None,
        files=_hashes(plan.backup),
        notes=list(plan.cautions),
    )
    try:
        yield work
    except BaseException as error:
        _undo_half(work, error)
        raise


class Restore:
    """One restore on its way, step by step; see `beginning`."""

    def __init__(
        self,
        deployment: Deployment,
        catalog: Catalog,
        record: Record,
        backup: Backup,
        where: list[Place],
        there: dict[str, int],
        collection: str | None,
        end_sessions: bool,
        tell: Tell,
    ) -> None:
        self.deployment = deployment
        self.catalog = catalog
        self.record = record
        self.backup = backup
        self.places = where
        self.made_by: str | None = None
        self.live_before: int | None = None
        self._stopped: list[str] = []
        self._there = there
        self._expected = expected_of(deployment, backup, collection)
        self._end_sessions = end_sessions
        self._tell = tell

    def keep_what_is_there(self, progress: Progress = lambda plain_bytes: None) -> SafetyBackup:
        """The safety backup. Raises what `keep_what_is_there` raises."""
        self._tell("keeping what is there now")
        self.record.note("keeping", sequence=self.catalog.next_sequence())
        try:
            kept = keep_what_is_there(self.deployment, self.catalog, self._there, progress=progress)
        except Mem0AssetsError as error:
            error.next_step = (
                f"{error.next_step or 'Mend that'}; or say --without-safety-backup: the old database is kept"
            )
            raise
        self.record.note("kept", **kept.as_json())
        return kept

    def stop_writers(self) -> None:
        """Stop the containers that write. Raises SessionsHeldError where others are connected, DockerUnreachableError."""
        running = running_writers(self.deployment)
        self._tell(f"stopping {', '.join(running)}" if running else "looking who is connected")
        self.record.note("stopping_writers", containers=running)
        stop_writers(self.deployment, running)
        self._stopped = running
        if not self._end_sessions:
            require_nobody(self.deployment)
        self.record.note("writers_stopped")

    def load(self) -> None:
        """Load the databases beside the live ones, and lay the history beside the live one."""
        self.record.note("loading")
        seconds, notes = {"restore": 0.0, "index": 0.0}, []
        for place in self.places:
            self._tell(f"loading into {place.beside}")
            times, left = load_beside(self.deployment, self.catalog, self.backup, place, made_by=self.made_by)
            seconds["restore"] += round(times.readable, 3)
            seconds["index"] += round(times.indexes, 3)
            notes += left
        history, manifest = self.deployment.stores.history, self.backup.manifest
        if history and manifest and manifest.history:
            copy = self.backup.path / manifest.files_of("history")[0].path
            history_swap.prepare(copy, history, self.record.restore)
            notes += [] if self._stopped else [f"restart mem0: it may hold the old {history.name} open"]
        self.record.note("loaded", seconds=seconds, notes=notes)

    def verify(self) -> Verdict:
        """Compare what was loaded with what the backup claims, as a drill does; its verdict is in the record."""
        self._tell("comparing with what the backup claims")
        began = time.monotonic()
        try:
            verdict, facts = self._verified()
        except TableMissingError as error:
            verdict, facts = refused("restore_failed", error.message), {"notes": []}
        seconds = {"checks": round(time.monotonic() - began, 3)}
        self.record.note("verified", **verdict.as_json(), **facts, seconds=seconds)
        return verdict

    def swap(self) -> None:
        """Put the restored databases in the place of the live ones. Raises SessionsHeldError, UnreachableError."""
        self._tell("swapping")
        with working(self.deployment) as connection:
            there = databases(connection)
            renames = list(self._renames(there))
            notes = [note for place in self.places for note in carry_settings(connection, place.live, place.beside)]
        oids = {place.live: there[place.beside] for place in self.places}
        self.record.note("swapping", oids=oids, notes=notes)
        swap(self.deployment, renames, end_sessions=self._end_sessions)
        self.record.note("swapped", notes=self._written_meanwhile())

    def finish(self) -> RestoreReport:
        """What comes after the swap; where it fails, `settle` finishes it."""
        with to_be_settled(self.deployment):
            return finish(self.deployment, self.catalog, self.record, self._tell)

    def give_up(self, why: str) -> RestoreReport:
        """Roll back, on purpose."""
        return roll_back(self.deployment, self.catalog, self.record, why)

    def report(self) -> RestoreReport:
        """What can be said now."""
        return report_of(self.record)

    def _renames(self, there: dict[str, int]) -> Iterator[tuple[str, str]]:
        for place in self.places:
            if there.get(place.live) != place.live_oid:
                raise RefusedError(
                    f"the database {place.live} became another one while the backup was loaded",
                    next_step="Find out who made it (a mem0 that was started?), stop that, and begin again",
                )
            if place.live_oid is not None:
                yield place.live, place.kept
            yield place.beside, place.live

    def _written_meanwhile(self) -> list[str]:
        """What came into the live memories, or went, while the backup was loaded: nobody else will look for it there."""
        kept = next(place.kept for place in self.places if place.store == "postgres")
        try:
            now = take_census(self.deployment.postgres.model_copy(update={"database": kept})).total
        except Mem0AssetsError:  # there was none before, or no table in it
            return []
        if self.live_before in (None, now):
            return []
        return [f"It was written to while the backup was loaded ({self.live_before} memories, then {now}): see {kept}"]

    def _verified(self) -> tuple[Verdict, dict[str, Any]]:
        manifest, notes, verdict = self.backup.manifest, [], OK
        for place in self.places:
            with connect(admin_of(self.deployment, place.beside), seconds=CHECK_SECONDS) as connection:
                if place.store == "application" and manifest and manifest.application:
                    verdict += check_application(connection, manifest.application)
                    continue
                restored = verify_memories(connection, self._expected, manifest.semantics if manifest else None)
                verdict += restored.verdict
                notes += [*restored.odd, *self._history_notes(connection)]
                verdict += self._readable(place)
        census = restored.census
        return verdict, {"total": census.total, "namespaces": census.namespaces, "notes": notes}

    def _readable(self, place: Place) -> Verdict:
        """Whether the role that guards the deployment can read what was restored: else the swap would look like a loss."""
        as_guard = self.deployment.postgres.model_copy(
            update={"database": place.beside, "collection": self._expected.collection}
        )
        try:
            take_census(as_guard)
        except Mem0AssetsError as error:
            what = f"{self.deployment.postgres.user} cannot read what was restored: {error.message}"
            return refused("no_right", f"{what}. {error.next_step}" if error.next_step else what)
        return OK

    def _history_notes(self, connection: Connection) -> list[str]:
        """What is told of the history and refuses nothing: what was lost before the backup is no reason to lose the rest."""
        if connection.info.server_version < 160000:
            return ["the history was not replayed: that needs PostgreSQL 16"] if self.backup.manifest else []
        verdict, notes = judge_replay(self.catalog, self.backup, replay_history(connection, self.catalog, self.backup))
        return [*notes, *(reason.message for reason in verdict.reasons)]


def _require_free(where: list[Place], there: dict[str, int]) -> None:
    """What has our names before we begin is not ours: to roll back would drop it. Raises RefusedError."""
    taken = [name for place in where for name in (place.beside, place.kept) if name in there]
    if taken:
        raise RefusedError(
            f"there is a database {taken[0]} already, which this restore did not make",
            next_step="Does another fleet.yaml restore the same database? Else say it again: the names are new each time",
        )


def _undo_half(work: Restore, error: BaseException) -> None:
    """Roll back what failed before its swap; where that cannot be, or not yet, say what to do."""
    if work.record.is_settled():
        return
    try:
        if not is_swapped(work.deployment, work.record, "swapping"):
            work.give_up(str(error) or type(error).__name__)
            return
        stands = "The databases were swapped, and what writes stands still"
    except Mem0AssetsError as second:
        stands = f"It could not be rolled back yet ({second.message})"
    if isinstance(error, Mem0AssetsError):
        error.next_step = f"{stands}. Once that is mended: mem0-assets restore {work.deployment.name} --settle"


def _hashes(backup: Backup) -> dict[str, str]:
    if backup.manifest:
        return {file.path: file.sha256 for file in backup.manifest.files}
    dump = legacy_dump(backup.path)
    return {str(dump.relative_to(backup.path)): sha256_of(dump)} if dump and dump.is_file() else {}
