"""What Dagster loads: the fleet of $MEM0_FLEET (or ./fleet.yaml), built and merged. No logic."""

from mem0_assets.assets.fleet import build_fleet
from mem0_assets.fleet import load_fleet

defs = build_fleet(load_fleet())
