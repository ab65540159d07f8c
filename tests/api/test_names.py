"""What `import mmjax` shows is there whatever was imported before."""

import subprocess
import sys

import pytest

ORDERS = [
    "import mmjax; first = mmjax.train",
    "import mmjax.train.units; import mmjax; first = mmjax.train",
    "from mmjax import train; import mmjax; first = train",
    "import mmjax; mmjax.Config; first = mmjax.train",
]


@pytest.mark.parametrize("order", ORDERS)
def test_train_is_a_function_and_a_room(order):
    code = f"""
{order}
from mmjax.train.units import to_steps
import mmjax.train.units as units
assert units.to_steps is to_steps is mmjax.train.units.to_steps
assert callable(first) and callable(mmjax.train)
import sys, types
stub = types.SimpleNamespace(train=lambda *args, **kwargs: (args, kwargs))
sys.modules["mmjax.api.training"] = stub
assert mmjax.train(1, workdir=2) == first(1, workdir=2) == ((1,), dict(workdir=2))
"""
    subprocess.run([sys.executable, "-c", code], check=True)
