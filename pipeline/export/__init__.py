"""Write a run's masks in the formats of other tools, a clip at a time."""
