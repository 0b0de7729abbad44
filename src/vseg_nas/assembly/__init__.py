"""From the typed configuration to objects; only the commands import this package."""
