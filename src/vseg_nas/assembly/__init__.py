"""What each command does: builds the parts that its configuration asks for, and runs them. `api` uses them, too."""
