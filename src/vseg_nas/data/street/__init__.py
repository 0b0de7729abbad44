"""Generated streets: their objects, the scene they form, the camera's view of it, and the frames that it records."""
