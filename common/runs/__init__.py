"""Stages and experiments: what is run, in which order, and what they leave behind."""
