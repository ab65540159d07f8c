"""An exported model behind HTTP: an engine without sockets, and thin fronts on kept frameworks.

`engine.py` checks, batches and bounds (`batcher.py` is its queue, `config.py` its settings,
`watching.py` what it tells); `examples.py`, `tensors.py` and `protocol.py` turn requests into raw
items and results into answers; `app.py` is the FastAPI front with its `guard.py`, `server.py` the
process on one machine and `supervisor.py` the one that restarts it. `kserve_model.py` and
`ray_deployment.py` put the same engine behind other engines. Another front is one file that calls
`Engine.predict`. `bulk/` answers the rows of manifests, however many, without a server.
"""
