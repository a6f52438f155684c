"""Plain implementations to hold the real ones against: written for reading, not for speed, and sharing no code."""
