from pathlib import Path

import jax
import numpy as np
import pytest
import twin
from flax import traverse_util

from mmjax.explain.subject import Subject
from mmjax.parallel.mesh import MeshConfig, make_mesh
from mmjax.parallel.sharding import unbox

GOLDEN = Path(__file__).parents[1] / "golden" / "explanations.npz"


@pytest.fixture(scope="session")
def golden():
    with np.load(GOLDEN) as found:
        return dict(found)


@pytest.fixture(scope="session")
def mesh():
    return make_mesh(MeshConfig(), jax.devices()[:1])


@pytest.fixture(scope="session")
def batch(golden):
    return twin.batch(golden["ids"], golden["mask"], golden["pixels"])


@pytest.fixture(scope="session")
def subject(golden, batch, mesh):
    """The twin with torch's weights; what it only adds to tokens is 0."""
    module = twin.model()
    shapes = unbox(jax.eval_shape(lambda: module.init(jax.random.key(0), batch, train=False)))
    flat = traverse_util.flatten_dict(shapes["params"], sep="/")
    params = {
        name: golden.get(f"weights/{name}", np.zeros(leaf.shape, leaf.dtype))
        for name, leaf in flat.items()
    }
    return Subject(
        module,
        {"params": traverse_util.unflatten_dict(params, sep="/")},
        mesh,
        kinds={"text": "text", "image": "image"},
        facts={},
    )


@pytest.fixture(scope="session")
def choice(subject, batch):
    return subject.chosen(batch)[0]
