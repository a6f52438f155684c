"""An encoder as a sentence-transformers folder: how it reads texts, the folder, its check and its card."""
