"""From a command line to a run: arguments, composition by Hydra, typed configuration, run directory, jobs of a sweep.

`command` tells it from top to bottom.
"""
