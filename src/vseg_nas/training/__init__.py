"""Training: LightningModules, losses, schedules, checkpoints, and the features that candidates train on."""
