"""Kinds of target column: what a label cell becomes.

A target is a frozen dataclass whose fields are its settings (`base.Target`). Fitted on the training
rows it is a `base.TargetProcessor`, which the run folder keeps as plain files.

- `category.py`: one of a set of names.

To add one: a file with the two classes, and a line in `data.config.targets`.
"""
