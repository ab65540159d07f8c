"""One named mesh, and what lives where on it.

- `mesh.py`: the mesh of a config. `sharding.py`: logical axis names to mesh axes, shardings of
  state and batch. `distributed.py`: start-up of many processes.

A new kind of parameter axis is one line in `sharding.RULES`.
"""
