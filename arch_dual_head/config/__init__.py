"""Configuration of arch_dual_head."""
