"""Generated streets: what stands in them (things, scene), what a camera sees (view) and records (frame)."""
