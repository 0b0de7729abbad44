"""What the commands leave as JSON: the models that they write and `report` reads, and how people read their values."""
