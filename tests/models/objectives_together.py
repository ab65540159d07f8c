"""A step of several objectives on whatever devices the processes of a job have together.

usage: objectives_together.py; prints the loss, the norm of the gradients, the sums, the norm of the
parameters after the step, and the examples in the queue, as one line of JSON.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import jax
import numpy as np
import test_pretraining as tiny

from mmjax import fusion, objectives
from mmjax.models.pretraining import JointProjections, Pretraining
from mmjax.parallel.distributed import initialize
from mmjax.parallel.mesh import MeshConfig, make_mesh
from mmjax.parallel.sharding import put_batch, replicated
from mmjax.train.config import OptimizerConfig
from mmjax.train.optim import make_optimizer, make_schedule
from mmjax.train.state import plan_state
from mmjax.train.step import make_step


def make_module() -> Pretraining:
    return Pretraining(
        encoders={"text": tiny.Small(), "image": tiny.Small()},
        objectives={
            "contrastive": objectives.build("contrastive", temperature=0.2, chunk=8),
            "siglip": objectives.build("siglip"),
            "matching": objectives.build("matching", chunk=8),
            "momentum": objectives.build("momentum_contrastive", queue_size=40),
        },
        joint=JointProjections(width=4),
        fusion=fusion.build("concat", width=8),
    )


def one_step(devices: list[jax.Device]) -> dict[str, Any]:
    mesh = make_mesh(MeshConfig(-1, 1, 1), devices)
    config = OptimizerConfig(name="sgd", momentum=0.0, learning_rate=1.0, weight_decay=0.0)
    schedule = make_schedule(config, 10, 0)
    optimizer, module, batch = make_optimizer(config, schedule), make_module(), tiny.make_batch()
    plan = plan_state(module, optimizer, batch, mesh, seed=0, ema=True)
    step = make_step(module, optimizer, schedule, mesh, plan.shardings, accumulate=2, ema_decay=0.9)
    share = tiny.ROWS // jax.process_count()
    own = slice(share * jax.process_index(), share * (jax.process_index() + 1))
    state, values = step(plan.make(), put_batch(jax.tree.map(lambda x: x[own], batch), mesh))

    def norms(state: Any) -> Any:
        return jax.tree.map(lambda x: (x**2).sum(), state.params)

    state_norms = jax.jit(norms, out_shardings=replicated(mesh))(state)
    flat = jax.tree_util.tree_leaves_with_path(jax.device_get(state_norms))
    return {
        "loss": float(values["loss"]),
        "grad_norm": float(values["grad_norm"]),
        **{name: float(value) for name, value in values["sums"].items()},
        **{jax.tree_util.keystr(path): float(value) for path, value in flat},
        "queue": np.asarray(state.collections["queue"]["objectives_momentum"]["row"]).tolist(),
    }


if __name__ == "__main__":
    initialize(timeout_seconds=60)
    sys.stdout.write(json.dumps(one_step(jax.devices())) + "\n")
