"""Training on transformers' Trainer, with checkpoints that prove themselves."""
