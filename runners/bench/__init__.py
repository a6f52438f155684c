"""Measurements of speed and memory that a sceptical reader can repeat: `genembench bench`."""
