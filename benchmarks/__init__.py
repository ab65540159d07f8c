"""What was measured, by programs that can be run again; `results/` holds what they wrote.

- `python -m benchmarks.quickstart`: how good the quickstart's models are over seeds, at what cost.
- `python -m benchmarks.checkpoint`: what verified checkpoints cost beside plain ones.
- `python -m benchmarks.fusion`, `layers`, `joint_embedding`, `train_step`, `loader`: how fast, on
  one core (or with `JAX_PLATFORMS=cuda` or `tpu` there), beside others with `--against torch,flax`;
  `--help` says what the sizes mean.
- `python -m benchmarks.catalog`: the table of results that `mmjax reproduce` measures again.

Each result says when, on what device and with which versions it was taken. A figure in the README
comes from here, or is not there.
"""
