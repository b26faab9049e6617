"""The full study: its arms, its plan, and what the command line hands on to the two folders."""
