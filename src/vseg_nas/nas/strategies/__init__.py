"""What proposes cells: the paper's controller, by PPO or REINFORCE, and random search. Nothing is imported here."""
