"""A person's word before something live is written to: the deployment's name, typed."""

import sys

import typer

from mem0_assets.commands.context import speaker
from mem0_assets.errors import ConfigurationError


def require_name(name: str, given: str | None) -> None:
    """Ask for the deployment's name on a terminal, where --confirm did not give it. Raises ConfigurationError."""
    if given is None and sys.stdin.isatty() and not speaker.as_json:
        given = typer.prompt(f"Type the deployment's name to go on ({name})", err=True).strip()
    if given != name:
        raise ConfigurationError(
            f"this writes to {name}, and was not confirmed", next_step=f"Say so by its name: --confirm {name}"
        )
