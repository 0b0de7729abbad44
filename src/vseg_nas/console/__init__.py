"""What a person sees on the terminal while a command runs and when it has ended."""
