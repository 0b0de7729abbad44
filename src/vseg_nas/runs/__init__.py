"""The run directory and the process of a command: files, digests, lock, record, resume; signals, children, streams."""
