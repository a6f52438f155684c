"""Public face of genembench."""
