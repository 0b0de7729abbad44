"""What the commands leave as JSON, in one spelling: the models that they write are the models that `report` reads."""
