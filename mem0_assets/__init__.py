"""Keeps self-hosted mem0 deployments from losing memories: backups that are proven, every night."""

__version__ = "0.3.0"
