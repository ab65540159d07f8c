"""One named mesh, and what lives where on it.

- `mesh.py`: the mesh of a config. `sharding.py`: logical axis names to mesh axes, shardings of
  state and batch. `distributed.py`: start-up of many processes.
- `cluster.py`: which of them this one is, by the environment. `feeding.py`: which rows of a batch
  it brings.
- `topology.py`: meshes of TPUs that are not there, to compile for; `chips.py`: what a chip can do
  at most. `layout.py`: where each array of a state lives, and why, as a table.
- `program.py`: a compiled program's text as computations, how often each runs, and what it moves;
  `collectives.py`: what it sends; `flops.py`: what a trace computes.

A new kind of parameter axis is one line in `sharding.RULES`.
"""
