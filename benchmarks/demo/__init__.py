"""The embedded demo: a small controlled English whose meanings are known, so that every gold score is computed."""
