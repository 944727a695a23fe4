"""Workflows that command: a deterministic loop, replay, and the turns between."""
