"""What the databases and files of a restore are called while they lie beside the live ones, and afterwards."""

from mem0_assets.backups.instructions import plain_name


def beside_name(database: str, restore: str) -> str:
    """What is restored, until it takes the live database's place; and again once that was undone."""
    return plain_name(database, f"_restored_{restore}")


def kept_name(database: str, restore: str) -> str:
    """What was replaced, until a person lets it go."""
    return plain_name(database, f"_replaced_{restore}")
