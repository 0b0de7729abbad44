"""A video network as two graphs without state of their own, for runtimes that know nothing of this project."""
