"""A run as a folder that can be served: its program, parameters, processors and model card.

`program.py` holds what a servable model promises.
"""
