"""Assemblies: encoders + fusion + task in one Linen module.

`config.py` has the settings, `multimodal.py` the assembly, `build.py` turns settings and the facts
of the data into the module. A new assembly is a file and a branch-free line in `build.py`.
"""
