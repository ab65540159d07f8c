"""What `import mmjax`, and using its names, costs beside `import jax`."""

import json
import statistics
import subprocess
import sys

CODE = """
import json, sys, time
start = time.process_time()
import jax
between = time.process_time()
import mmjax
{more}
end = time.process_time()
heavy = [name for name in ("tensorflow", "torch", "transformers") if name in sys.modules]
backend = bool(jax._src.xla_bridge._backends)
print(json.dumps([between - start, end - between, heavy, backend]))
"""


def cost(more="", times=1):
    """CPU seconds of jax and of mmjax (medians), and what else was brought in."""
    found = []
    for _ in range(times):
        command = [sys.executable, "-c", CODE.format(more=more)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout.splitlines()[-1]))
    jax_seconds, seconds, heavy, backend = zip(*found, strict=True)
    return statistics.median(jax_seconds), statistics.median(seconds), heavy[0], backend[0]


def test_import_mmjax_is_within_a_third_of_a_second_of_jax():
    _, seconds, heavy, backend = cost(times=3)
    assert seconds < 0.3
    assert heavy == []
    assert not backend


def test_the_model_side_needs_no_other_framework_and_no_device():
    more = (
        "from mmjax import encoders, fusion, tasks\n"
        "for registry in (encoders.registry, fusion.registry, tasks.registry):\n"
        "    for name in registry: registry.load(name)\n"
        "import mmjax.train.step, mmjax.models.build\n"
    )
    _, _, heavy, backend = cost(more)
    assert heavy == []
    assert not backend
