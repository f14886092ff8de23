"""Whether what belongs to a deployment answers, and the data behind it: mem0's server, PostgreSQL, Neo4j, Grafana, disks.

A port that answers proves nothing. mem0's own health check asks `/docs`, which stays 200 while its database is dead,
and in January 2026 all containers were green for 17 days. So each check asks for something that only the data behind
can answer, and where it cannot, its sentence says what was not proven.

Nothing here raises what is expected, and each question has its limit of time (endpoints.py, postgres.py).
"""

import os
import re
import shutil
import time
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from mem0_assets.errors import ConfigurationError, Mem0AssetsError, NotACollectionError, TableMissingError
from mem0_assets.fleet import Deployment, HealthSettings, Postgres
from mem0_assets.live.census import take_census
from mem0_assets.live.endpoints import Answer, NoConnectionError, ask
from mem0_assets.live.postgres import DeniedError, NotReadableError

POSTGRES_SECONDS = 5.0
# Nobody's: mem0 finds nothing under it, and has asked its store all the same. Its request log shows who asked.
NOBODY = "mem0-assets"

CheckName = Literal["server", "postgres", "neo4j", "disk", "grafana"]
PostgresCode = Literal["postgresql_down", "postgresql_connection", "postgresql_db_access"]
Code = Literal[
    "ok",
    "mem0_server_down",
    "mem0_server_endpoint",
    PostgresCode,
    "neo4j_down",
    "neo4j_endpoint",
    "disk_space_low",
    "grafana_down",
    "grafana_endpoint",
]
Facts = dict[str, str | int | float]


@dataclass(frozen=True)
class Health:
    """What one check saw. `facts`: what a plot can use, in bytes, seconds and counts."""

    check: CheckName
    code: Code
    sentence: str
    next_step: str = ""
    facts: Facts = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.code == "ok"


class UnwellError(Mem0AssetsError):
    """A service answers, and not as it does when it is well."""

    code = "unwell"


def look_at_health(deployment: Deployment) -> list[Health]:
    """Every check that fleet.yaml names a place for, all at the same time."""
    checks = checks_of(deployment)
    with ThreadPoolExecutor(max_workers=len(checks)) as pool:
        return list(pool.map(lambda check: check(), checks.values()))


def checks_of(deployment: Deployment) -> dict[CheckName, Callable[[], Health]]:
    """The checks that a deployment has: PostgreSQL and the disks always."""
    settings = deployment.health
    checks: dict[CheckName, Callable[[], Health]] = {}
    if settings.server_url:
        checks["server"] = partial(check_server, settings.server_url, settings)
    checks["postgres"] = partial(check_postgres, deployment.postgres)
    if settings.neo4j_url:
        checks["neo4j"] = partial(check_neo4j, settings.neo4j_url, settings)
    checks["disk"] = partial(check_disk, deployment)
    if settings.grafana_url:
        checks["grafana"] = partial(check_grafana, settings.grafana_url)
    return checks


# mem0's server


def check_server(url: str, settings: HealthSettings) -> Health:
    """mem0's own server, and as far as it lets us ask, the two databases behind it."""
    codes: tuple[Code, Code] = ("mem0_server_down", "mem0_server_endpoint")
    return _asked("server", url, codes, lambda: _server(url, settings.admin_key()))


def _server(url: str, key: str | None) -> tuple[str, Facts]:
    """`/auth/setup-status` counts the users and needs no key; servers of 1.x have neither users nor that path."""
    setup, needs_setup = _server_answer(f"{url}/auth/setup-status"), False
    if setup.status != 404:
        needs_setup = setup.get("needsSetup")
        if setup.status != 200 or not isinstance(needs_setup, bool):
            raise _wrong(setup, "/auth/setup-status", "Can it reach its application database? See its log")
    memories = _server_answer(f"{url}/memories?user_id={NOBODY}&top_k=1", key)
    open_to_us = _memories_came(memories, key)
    if needs_setup and not open_to_us:  # who is let in by ADMIN_API_KEY, or by AUTH_DISABLED, need not have any user
        raise UnwellError(
            "it has no user at all: its application database is a new one, or is lost",
            next_step="Look at its volume before anything else. If nobody is meant to log in: name health.admin_key_env",
        )
    asked = {"users": setup.status == 200, "memories": open_to_us}
    proven = " and ".join(name for name, answered in asked.items() if answered)
    if not proven and _server_answer(f"{url}/openapi.json").get("openapi") is None:
        raise UnwellError("what answers there is not mem0's server", next_step="Check health.server_url in fleet.yaml")
    said = f"it answers from its {proven}" if proven else "it answers, and nothing behind it was proven"
    without = "" if open_to_us else "; its memories ask for a key (name it: health.admin_key_env)"
    users = "; no user is registered" if needs_setup else ""
    return said + without + users, {"proven": proven or "nothing"}


def _server_answer(url: str, key: str | None = None) -> Answer:
    """Asked twice where it fails: after a restart of PostgreSQL the first call of a mem0 server always does."""
    headers = {"X-API-Key": os.fsencode(key)} if key else None
    answer = ask(url, headers=headers)
    return ask(url, headers=headers) if answer.status >= 500 else answer


def _memories_came(answer: Answer, key: str | None) -> bool:
    """Whether the store of the memories was asked; False where nobody is let in without a key, and none is named."""
    if answer.status in (401, 403) and not key:
        return False
    if answer.status in (401, 403):
        raise _wrong(answer, "/memories", "Check health.admin_key_env against its ADMIN_API_KEY")
    found = answer.content if isinstance(answer.content, list) else answer.get("results")  # the former: mem0 0.1
    if answer.status != 200 or not isinstance(found, list):
        raise _wrong(answer, "/memories", "Can it reach the database of the memories? See its log")
    return True


# PostgreSQL


def check_postgres(postgres: Postgres) -> Health:
    """The memories counted by SQL. How many there must be is for the census to say."""
    started = time.monotonic()
    try:
        census = take_census(postgres, seconds=POSTGRES_SECONDS)
    except Mem0AssetsError as error:
        return Health("postgres", postgres_code(error), error.message, error.next_step)
    facts: Facts = {
        "memories": census.total,
        "namespaces": len(census.namespaces),
        "server_version": census.identity.server_version or "unknown",
        "seconds": _since(started),
    }
    said = f"{census.total} memories in {len(census.namespaces)} namespaces of {postgres.address}"
    return Health("postgres", "ok", said, facts=facts)


def postgres_code(error: Mem0AssetsError) -> PostgresCode:
    """Down, refusing to let us in, or open to us without its memories."""
    if isinstance(error, TableMissingError | NotACollectionError | NotReadableError):
        return "postgresql_db_access"
    if isinstance(error, DeniedError | ConfigurationError):
        return "postgresql_connection"
    return "postgresql_down"


# Neo4j


def check_neo4j(url: str, settings: HealthSettings) -> Health:
    """The graph of a 1.x deployment: its nodes counted by Cypher, over HTTP."""
    codes: tuple[Code, Code] = ("neo4j_down", "neo4j_endpoint")
    return _asked("neo4j", url, codes, lambda: _neo4j(url, settings.neo4j_user, settings.neo4j_password()))


def _neo4j(url: str, user: str, password: str | None) -> tuple[str, Facts]:
    version = ask(f"{url}/").get("neo4j_version")
    if not isinstance(version, str):
        raise UnwellError("what answers there is not Neo4j", next_step="Check health.neo4j_url in fleet.yaml")
    login = {"Authorization": b"Basic " + b64encode(os.fsencode(f"{user}:{password}"))} if password else None
    query = {"statements": [{"statement": "MATCH (n) RETURN count(n)"}]}
    answer = ask(f"{url}/db/neo4j/tx/commit", headers=login, body=query)
    if answer.status in (401, 403):
        raise _wrong(answer, "a query", "Check health.neo4j_user and health.neo4j_password_env")
    nodes = _first_number(answer)
    if not 200 <= answer.status < 300 or nodes is None:
        raise _wrong(answer, "a query", "See its log")
    return f"it holds {nodes} nodes", {"nodes": nodes, "version": version}


def _first_number(answer: Answer) -> int | None:
    """The one number that a query returned. Neo4j answers 200 to a query that failed, with its errors beside."""
    try:
        number = answer.content["results"][0]["data"][0]["row"][0]
    except (KeyError, IndexError, TypeError):
        return None
    return number if isinstance(number, int) and not answer.get("errors") else None


# Grafana


def check_grafana(url: str) -> Health:
    """Grafana, and its own database, without which it shows a page and no dashboard."""
    return _asked("grafana", url, ("grafana_down", "grafana_endpoint"), lambda: _grafana(url))


def _grafana(url: str) -> tuple[str, Facts]:
    answer = ask(f"{url}/api/health")
    if answer.status != 200 or answer.get("database") != "ok":
        raise _wrong(answer, "/api/health", "Does it reach its own database? See its log")
    version = answer.get("version")
    return "it answers from its database", {"version": version} if isinstance(version, str) else {}


# Disks


def check_disk(deployment: Deployment) -> Health:
    """Room where the backups lie, and where an embedded server keeps its data."""
    least, facts = deployment.health.min_free_bytes, Facts()
    room, problems = [], []
    for name, folder in _places(deployment).items():
        try:
            free = shutil.disk_usage(folder).free
        except OSError as error:
            problems.append(f"{folder} cannot be looked at ({error.strerror}): is its disk mounted?")
            continue
        facts[f"{name}_free_bytes"] = free
        room.append(f"{_gb(free)} are free in {folder}")
        if free < least:
            problems.append(f"{room[-1]}, and {_gb(least)} should be")
    if problems:
        step = "Free space there: logs and old images first, good backups last"
        return Health("disk", "disk_space_low", "; ".join(problems), step, facts)
    return Health("disk", "ok", "; ".join(room), facts=facts)


def _places(deployment: Deployment) -> dict[str, Path]:
    """Before the first backup there is no folder yet: then the one in which it will be made."""
    root, embedded = deployment.backups.parent, deployment.postgres.embedded
    backups = next((folder for folder in (deployment.backups, root) if folder.exists()), root.parent)
    return {"backups": backups} | ({"database": embedded} if embedded else {})


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


# What they share


def _asked(check: CheckName, url: str, codes: tuple[Code, Code], look: Callable[[], tuple[str, Facts]]) -> Health:
    """What a look at a service says, with its address and how long it took. `codes`: it is down, it answers wrongly."""
    started = time.monotonic()
    try:
        said, facts = look()
        return Health(check, "ok", f"{url}: {said}", facts={**facts, "seconds": _since(started)})
    except NoConnectionError as error:
        code, said, step = codes[0], error.message, "Is it running? `docker ps -a`, and its log"
    except Mem0AssetsError as error:
        code, said, step = codes[1], error.message, error.next_step or "See its log"
    return Health(check, code, f"{url}: {said}", step, {"seconds": _since(started)})


def _wrong(answer: Answer, path: str, next_step: str) -> UnwellError:
    """An answer that says that something is wrong, with its code where it has a plain one, like datastore_unavailable."""
    code = answer.get("code") or _neo4j_code(answer)
    named = f" ({code})" if isinstance(code, str) and re.fullmatch("[A-Za-z_.]{1,80}", code) else ""
    if 300 <= answer.status < 400:
        next_step = "It sends elsewhere: write the address that answers by itself into fleet.yaml"
    return UnwellError(f"it answers {path} with HTTP {answer.status}{named}", next_step=next_step)


def _neo4j_code(answer: Answer) -> object:
    try:
        return answer.content["errors"][0]["code"]
    except (KeyError, IndexError, TypeError):
        return None


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)
