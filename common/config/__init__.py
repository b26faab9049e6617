"""YAML groups that both experiment folders share; found by Hydra as pkg://common.config."""
