"""What comes out of a comparison: computed from run records and from nothing else.

Nothing here imports torch, transformers or mteb, or another room: a leaderboard can be rebuilt from a folder of
records on a machine that could never have trained them.
"""
