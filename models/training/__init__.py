"""Training loops, optimizers, checkpoints and the record of a run."""
