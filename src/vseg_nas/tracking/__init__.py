"""Runs on Weights & Biases; no other package knows wandb."""
