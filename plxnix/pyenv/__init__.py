"""Environments of Python packages: from requirements to a lock, from a lock to a stage."""
