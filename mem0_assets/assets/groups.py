"""The two groups of a deployment's assets: what runs by itself, and what a person starts when memories are to come back.

In one group the lineage of every night was a ninth of its page, and "Materialize all" named a restore.
"""

from mem0_assets.fleet import Deployment


def recovery_group(deployment: Deployment) -> str:
    """The group of gates, stages and restores; all else is in the group of the deployment's own name."""
    return f"{deployment.name}_recovery"
