"""What finished stages found: rows, statistics, tables."""
