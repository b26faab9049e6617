"""Checkpoints: files, what they record, where to resume."""
