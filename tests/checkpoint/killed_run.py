"""A run that saves every second step and may be killed by MMJAX_FAILPOINT; restarts by itself.

usage: killed_run.py FOLDER STEPS. The state after n steps has a closed form; see `expected`.
"""

from __future__ import annotations

import sys

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.checkpoint.run_folder import RunFolder
from mmjax.checkpoint.store import Checkpoints

SHAPE = (512, 512)


def initial():
    return {"step": jnp.zeros((), jnp.int32), "params": {"w": jnp.zeros(SHAPE)}}


def advance(state):
    return {"step": state["step"] + 1, "params": {"w": state["params"]["w"] + state["step"]}}


def expected(steps: int) -> dict:
    w = np.full(SHAPE, steps * (steps - 1) / 2, np.float32)
    return {"step": np.int32(steps), "params": {"w": w}}


def main(folder: str, steps: int) -> None:
    run = RunFolder(folder)
    update = jax.jit(advance, donate_argnums=0)
    with run.lock(), Checkpoints(run.checkpoints) as checkpoints:
        state = initial()
        start = 0
        if checkpoints.latest() is not None:
            restored = checkpoints.restore(state)
            state, start = restored.state, restored.data_state["next_step"]
        sys.stdout.write(f"from {start}\n")
        sys.stdout.flush()
        for step in range(start, steps):
            state = update(state)
            checkpoints.check_errors()
            if step % 2:
                checkpoints.save(step + 1, state, data_state={"next_step": step + 1})


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
