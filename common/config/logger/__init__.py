"""Hydra group `logger`."""
