"""Configuration of arch_single_head."""
