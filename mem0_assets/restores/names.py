"""What the databases of a restore are called while they lie beside the live ones, and afterwards."""

import hashlib

from mem0_assets.backups.instructions import plain_name


def beside_name(database: str, restore: str) -> str:
    """What is restored, until it takes the live database's place; and again once that was undone."""
    return _own_name(database, f"_restored_{restore}")


def kept_name(database: str, restore: str) -> str:
    """What was replaced, until a person lets it go."""
    return _own_name(database, f"_replaced_{restore}")


def _own_name(database: str, ending: str) -> str:
    """Of this database alone: where its name is cut or changed, another one's would come to the same without a digest."""
    plain = plain_name(database, ending)
    if plain == database + ending:
        return plain
    return plain_name(database, f"_{hashlib.sha256(database.encode()).hexdigest()[:8]}{ending}")
