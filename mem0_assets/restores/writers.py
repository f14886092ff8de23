"""What writes to a deployment: stopped while its memories are put back, started again afterwards, and asked for them."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from mem0_assets.errors import Mem0AssetsError, UnreachableError
from mem0_assets.fleet import Deployment
from mem0_assets.live.containers import ContainerMissingError, DockerUnreachableError, docker_of
from mem0_assets.live.endpoints import Answer, ask
from mem0_assets.live.namespaces import NO_NAMESPACE
from mem0_assets.restores.server import sessions, targets, working
from mem0_assets.restores.swap import held_by

# A mem0 server installs itself anew at each start of its container.
START_SECONDS = 120.0
PAUSE_SECONDS = 1.0
# Sessions of a container that was stopped, and of our own census, are gone by then.
LEAVING_SECONDS = 10.0
MOST_ASKED = 50
SCOPES = ("user_id", "agent_id", "run_id")


def running_writers(deployment: Deployment) -> list[str]:
    """The writers that run now, in the order in which they are started. Raises DockerUnreachableError."""
    if not deployment.containers.writing:
        return []
    with docker_of(deployment.containers) as docker:
        running = []
        for name in deployment.containers.writing:
            try:
                running += [name] if docker.inspect(name).running else []
            except ContainerMissingError:  # what is not there does not write
                continue
        return running


def stop_writers(deployment: Deployment, names: Sequence[str]) -> None:
    """Stop these containers, those that were started last first. Raises DockerUnreachableError."""
    if names:
        with docker_of(deployment.containers) as docker:
            for name in reversed(names):
                docker.stop(name)


def start_writers(deployment: Deployment, names: Sequence[str]) -> None:
    """Start these containers; those that run already stay as they are. One that cannot start keeps no other one down.

    Raises DockerUnreachableError, ContainerMissingError.
    """
    problems: list[Mem0AssetsError] = []
    if names:
        with docker_of(deployment.containers) as docker:
            for name in names:
                try:
                    docker.start(name)
                except (ContainerMissingError, DockerUnreachableError) as error:
                    problems.append(error)
    if problems:
        raise problems[0]


def require_nobody(deployment: Deployment) -> None:
    """Raises SessionsHeldError where somebody is still connected to one of the databases after LEAVING_SECONDS."""
    until = time.monotonic() + LEAVING_SECONDS
    with working(deployment) as connection:
        while sessions(connection, targets(deployment)):
            if time.monotonic() > until:
                raise held_by(connection, targets(deployment))
            time.sleep(PAUSE_SECONDS / 10)


def ask_for_memories(deployment: Deployment, namespaces: Mapping[str, int], *, seconds: float) -> dict[str, Any]:
    """Ask mem0's server for a memory of each namespace (the largest MOST_ASKED), once it answers.

    `{"asked": n, "without": [names], "problem": text or None}`. What is not configured cannot be asked: `asked` is 0.
    """
    url, key = deployment.health.server_url, deployment.health.admin_key()
    if url is None or key is None:
        return {"asked": 0, "without": [], "problem": "health.server_url and health.admin_key_env are not both named"}
    wanted = sorted(namespaces.keys() - {NO_NAMESPACE}, key=lambda name: -namespaces[name])[:MOST_ASKED]
    until = time.monotonic() + seconds
    without = []
    try:
        for name in wanted:
            if not any(_found(answer) for answer in _answers(url, key, name, until)):
                without.append(name)
    except UnreachableError as error:
        return {"asked": 0, "without": [], "problem": f"the mem0 server gave no answer: {error.message}"}
    return {"asked": len(wanted), "without": without, "problem": None}


def _answers(url: str, key: str, namespace: str, until: float) -> Iterator[Answer]:
    """A namespace's name does not say which scope it is of."""
    for scope in SCOPES:
        yield _patiently(f"{url}/memories?{urlencode({scope: namespace, 'top_k': 1})}", key, until)


def _patiently(url: str, key: str, until: float) -> Answer:
    """The first answer that is no error of the server's own: it may be starting, and its first call meets dead sessions."""
    while True:
        try:
            answer = ask(url, headers={"X-API-Key": os.fsencode(key)})
            if answer.status < 500 or time.monotonic() > until:
                return answer
        except UnreachableError:
            if time.monotonic() > until:
                raise
        time.sleep(PAUSE_SECONDS)


def _found(answer: Answer) -> bool:
    results = answer.content if isinstance(answer.content, list) else answer.get("results")
    return answer.status == 200 and isinstance(results, list) and bool(results)
