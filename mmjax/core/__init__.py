"""What every other room speaks: types, errors, registry, config, rng, failpoints, atomic files.

Nothing here knows of models or data. A type that travels between rooms goes into `types.py`.
"""
