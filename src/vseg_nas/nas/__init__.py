"""The search (section 3.3): strategies propose cells, an evaluator scores them, a store remembers all.

Nothing is imported here: `nas.trial` and `nas.store` work without torch, and commands that only read a run
should not pay for importing it.
"""
