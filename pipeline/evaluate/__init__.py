"""Scores of what the service made: masks by the rules of DAVIS and YouTube-VOS, rotated boxes by VOT's."""
