"""Logging to Weights & Biases; no other package imports wandb."""
