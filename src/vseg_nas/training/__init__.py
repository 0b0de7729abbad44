"""LightningModules, losses, schedules, and the features that candidates train on."""
