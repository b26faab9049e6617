"""Use trained networks: evaluate, predict, explain, export."""
