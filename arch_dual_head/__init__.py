"""One or two hemispheres with two heads: fine and coarse predictions of the same image."""
