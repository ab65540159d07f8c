"""The settings of a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

from mmjax.core.registry import Spec
from mmjax.encoders import EncoderSpec
from mmjax.models import AnyFusionSpec

FloatType = Literal["float32", "bfloat16"]


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """One encoder a modality, a fusion, and how they are regularised."""

    encoders: Mapping[str, EncoderSpec] = dataclasses.field(default_factory=dict)
    pretrained: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Modality -> Hugging Face folder, hub id or "package:NAME/folder" ("...#vision" for a part).
    Its encoder has that architecture and starts from those weights; `encoders` needs to name only
    what should differ."""
    fusion: AnyFusionSpec = Spec("concat")
    """A method of the fusion room, or an assembly that fuses in its own way (decision, hybrid)."""
    feature_dropout: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Modality -> share of its `pooled` channels that are left out in training, before the fusion:
    what keeps a small head on a large frozen encoder from learning its rows by heart."""
    modality_dropout: float = 0.0
    """Chance that a row's modality is hidden during training; one always stays."""
    auxiliary_loss: float = 0.0
    """Weight of the losses of each modality alone, the others hidden from the fusion."""
    missing_tokens: bool = dataclasses.field(default=False, metadata={"unsaid": "by default"})
    """Whether a learnt token and summary take the place of a modality that a row lacks, or that
    `modality_dropout` hides, before the fusion. For several modalities, fused as features."""
    r_drop: float = dataclasses.field(default=0.0, metadata={"unsaid": "by default"})
    """With more than 0, training takes each batch twice with other dropout, and the loss gains that
    many times the symmetric divergence of both predictions (R-Drop)."""
    mixup: float = dataclasses.field(default=0.0, metadata={"unsaid": "by default"})
    """With more than 0, training mixes the tokens of each row with those of another before the
    fusion, in shares drawn from Beta(mixup, mixup), and their targets alike (manifold mixup)."""
    gradient_balance: float = dataclasses.field(default=0.0, metadata={"unsaid": "by default"})
    """With more than 0, the encoder of the modality that says most of the truth gets a smaller
    gradient: OGM (Peng et al. 2022), this its alpha, such as 0.3. Of Adam's steps a factor that
    stays takes nothing; `optimizer.name=sgd` is what the paper has. See `optimizer.gradient_noise`.
    """
    joint_dim: int = 128
    """Width of the joint space that pretraining objectives embed every modality in."""
    dtype: FloatType = "float32"
    """What layers compute in; softmax, norms and losses stay in float32."""
    param_dtype: FloatType = "float32"
    """What parameters are stored in."""
