"""Analyses of a finished study: how two hemispheres work together, in numbers, figures and one page."""
