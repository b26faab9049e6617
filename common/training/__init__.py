"""How a network is trained: LightningModules, losses, metrics, callbacks."""
