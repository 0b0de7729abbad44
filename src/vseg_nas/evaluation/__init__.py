"""How good, how steady and how fast a video network is."""
