"""The same numbers as the authors' own code, where recordings of it are at hand."""
