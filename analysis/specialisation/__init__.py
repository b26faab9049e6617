"""How differently two hemispheres are specialised: definitions, probes, and their course over training."""
