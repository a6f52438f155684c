"""The training objectives that methods are made of: one stage, or one family of stages, in each file."""
