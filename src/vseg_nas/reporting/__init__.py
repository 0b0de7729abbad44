"""The report: one HTML page, and every table and figure of it as files."""
