"""The one trainer.

`config.py` the whole config, `state.py` what a step carries, `optim.py` the update rule, `step.py`
the compiled step, `evaluate.py` a pass over a split, `loop.py` the loop with its hooks,
`signals.py` orderly stops, `trainer.py` one run from config to run folder. `ahead.py` compiles the
step for devices that are not there, `moments.py` keeps the optimiser's state in fewer bytes.

Everything periodic is a hook (`hooks.py`): a new one is a class there and a line in `trainer.py`.
"""
