"""A small corpus that is drawn, not downloaded: moving, textured objects with known masks."""
