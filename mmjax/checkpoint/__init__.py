"""Run folders and Orbax checkpoints whose every byte is checked.

`run_folder.RunFolder` knows the paths of a run and its lock; `store.Checkpoints` saves and restores
the training state; `load.load_params` reads parameters without a target, for evaluation.
"""
