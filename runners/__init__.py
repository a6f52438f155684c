"""How it is run: compare, train and evaluate; the plan, the one trainer, the meter and the record.

The scripts `compare.py`, `train.py` and `evaluate.py` are the sub-commands of ``genembench``. A run goes
`plan.py` -> `worker.py` (one process a run) -> `stages.py` -> `trainer.py` -> `records.py`.
"""
