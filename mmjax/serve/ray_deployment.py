"""An exported folder as a deployment of Ray Serve: many replicas, on one machine or many.

    from ray import serve
    from mmjax.serve.ray_deployment import application
    serve.run(application("exported", num_replicas=4))

Each replica is the whole FastAPI front with an engine of its own. Ray's proxy stands before it, so
slow clients and the port are the proxy's affair. Give `config` tokens or the names of `hosts`: by
default a replica answers requests under this machine's names alone.
"""

from __future__ import annotations

import os
from typing import Any

from mmjax.core.extras import require
from mmjax.serve.config import ServeConfig


def application(
    folder: str | os.PathLike, config: ServeConfig | None = None, **options: Any
) -> Any:
    """What `serve.run` takes. `options` are those of a deployment: `num_replicas`,
    `max_ongoing_requests`, `ray_actor_options`, `autoscaling_config`, ...
    """
    serve: Any = require("ray.serve", "ray")
    config = config or ServeConfig()
    # A replica refuses by its own queue, so Ray hands on what that takes.
    given = {"max_ongoing_requests": config.engine.max_queue, **options}
    path = os.fspath(folder)

    def front() -> Any:  # Ray takes a function for a maker, and any other callable for the front
        return _front(path, config)

    return serve.deployment(serve.ingress(front)(), name="mmjax", **given).bind()


def _front(folder: str, config: ServeConfig) -> Any:
    """The front of one replica, made where it runs."""
    from mmjax.export import load
    from mmjax.serve.app import make_app
    from mmjax.serve.service import Service

    return make_app(Service(lambda: load(folder), config), starts=True)
