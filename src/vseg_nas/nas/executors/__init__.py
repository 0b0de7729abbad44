"""Where candidates are evaluated: in this process, in child processes, or on Ray. Nothing is imported here."""
