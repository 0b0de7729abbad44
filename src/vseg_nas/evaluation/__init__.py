"""How accurate, how consistent over time and how fast a video network is: protocols and measurements."""
