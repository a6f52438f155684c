"""What is compared: the contract, the registry, the encoder, and one file per method.

Read `contract.py` first, then `infonce.py` (a method that trains) and `untrained.py` (one that does not). What methods
are made of (templates, read-outs, losses, LoRA, FLOPs) stands in `parts/`. No module here knows how it is run.
"""
