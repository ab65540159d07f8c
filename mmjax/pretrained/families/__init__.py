"""The model types that are known: one file a group, each with its tables.

To add one: a `Family` (see `mmjax.pretrained.family`), a line in `mmjax.pretrained.FAMILIES`, and a
golden case in `tests/pretrained`.
"""
