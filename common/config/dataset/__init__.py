"""Hydra group `dataset`."""
