"""What a finished study shows: how two hemispheres work together, in numbers, pictures and one page."""
