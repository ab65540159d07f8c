import jax.numpy as jnp
import pytest

from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.models.build import build_model
from mmjax.models.config import ModelConfig

FACTS = {
    "modalities": {
        "text": {"vocab_size": 13, "max_length": 8, "not_for_encoders": 1},
        "front_camera": {"image_size": 8, "channels": 3},
    },
    "targets": {"group": {"num_labels": 3, "label_names": ("a", "b", "c")}},
}
ENCODERS = {"text": Spec("bag_of_subwords", width=8), "front_camera": Spec("vit", depth=1)}
TASK = Spec("classification", target="group")


def test_parts_get_their_settings_and_the_facts_of_the_data():
    config = ModelConfig(
        encoders=ENCODERS,
        fusion=Spec("concat", width=4),
        modality_dropout=0.25,
        auxiliary_loss=0.5,
        dtype="bfloat16",
        param_dtype="float32",
    )
    module = build_model(config, TASK, FACTS)
    assert list(module.encoders) == ["text", "front_camera"]
    assert (module.encoders["text"].vocab_size, module.encoders["text"].width) == (13, 8)
    assert module.encoders["front_camera"].image_size == 8
    assert (module.modality_dropout, module.auxiliary_loss) == (0.25, 0.5)
    assert (module.task.num_labels, module.task.label_names) == (3, ("a", "b", "c"))
    for part in (*module.encoders.values(), module.fusion, module.task):
        assert (part.dtype, part.param_dtype) == (jnp.bfloat16, jnp.float32)


@pytest.mark.parametrize(
    ("encoders", "task", "message"),
    [
        ({}, TASK, r"the model has no encoder.*where: model\.encoders"),
        (
            {"front_camra": Spec("vit")},
            TASK,
            r"for 'front_camra', which is no modality.*did you mean 'front_camera'\?",
        ),
        (
            ENCODERS,
            Spec("classification", target="gruop"),
            r"wants the target 'gruop'.*did you mean 'group'\?",
        ),
        (ENCODERS, Spec("classification"), r"wants the target 'label'.*valid: group"),
        ({"text": Spec("bag_of_subword")}, TASK, r"did you mean 'bag_of_subwords'\?"),
        ({"text": Spec("vit", dept=3)}, TASK, r"no setting 'dept'.*did you mean 'depth'\?"),
    ],
)
def test_errors_name_the_nearest_valid_choice(encoders, task, message):
    with pytest.raises(ConfigError, match=message):
        build_model(ModelConfig(encoders), task, FACTS)


@pytest.mark.parametrize("dropout", [{"txt": 0.5}, {"text": 1.0}])
def test_feature_dropout_is_a_share_for_a_modality(dropout):
    config = ModelConfig(encoders=ENCODERS, feature_dropout=dropout)
    with pytest.raises(ConfigError, match=r"a share from 0 to 1; .*'?text"):
        build_model(config, TASK, FACTS)
