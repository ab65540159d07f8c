"""From `{modality: Tokens}` to `Fused`: one file a method.

A fusion is a Linen module called as `fusion(tokens, train=...)`. It projects every modality to its
`width`, treats an all-False mask as a missing modality, and knows nothing of tasks. `base.py` has
what all methods share, `attention_fusion.py` what the attention-level ones do.

Those give their weights on request: after

    fused, _ = fusion.apply(variables, tokens, train=False, mutable=["intermediates"])

`fused.attention` is a dictionary by "queries<-keys" ("text<-image", "latents<-text"), each
`[layers b heads n m]`, exactly 0 at padding. Otherwise it is None.

Two more names are known to the config, `decision` and `hybrid`: they need each modality's head or
the encoders' blocks, so the models room builds them.

To add one: a file with the module, and a line below.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Annotated, Any

from mmjax.core.errors import ConfigError
from mmjax.core.registry import Registry, Spec

if TYPE_CHECKING:
    from mmjax.fusion import alignment
    from mmjax.fusion.solving import solve_gram, solve_weights

registry = Registry(
    "fusion",
    {
        "weighted_sum": "mmjax.fusion.weighted_sum:WeightedSum",
        "sum": "mmjax.fusion.sum:Sum",
        "concat": "mmjax.fusion.concat:Concat",
        "side_by_side": "mmjax.fusion.side_by_side:SideBySide",
        "unchanged": "mmjax.fusion.unchanged:Unchanged",
        "joint_embedding": "mmjax.fusion.joint_embedding:JointEmbedding",
        "max_pool": "mmjax.fusion.max_pool:MaxPool",
        "mean_pool": "mmjax.fusion.mean_pool:MeanPool",
        "cosine_pool": "mmjax.fusion.cosine_pool:CosinePool",
        "gated": "mmjax.fusion.gated:Gated",
        "film": "mmjax.fusion.film:FiLM",
        "low_rank": "mmjax.fusion.low_rank:LowRank",
        "tensor": "mmjax.fusion.tensor:Tensor",
        "bilinear": "mmjax.fusion.bilinear:Bilinear",
        "cross_attention": "mmjax.fusion.cross_attention:CrossAttention",
        "co_attention": "mmjax.fusion.co_attention:CoAttention",
        "merged_attention": "mmjax.fusion.merged_attention:MergedAttention",
        "bottleneck": "mmjax.fusion.bottleneck:Bottleneck",
        "perceiver": "mmjax.fusion.perceiver:Perceiver",
        "multimodal_transformer": "mmjax.fusion.multimodal_transformer:MultimodalTransformer",
    },
)

FusionSpec = Annotated[Spec, registry]

ASSEMBLIES = ("decision", "hybrid", "two_tower")
"""Names of fusions that are whole models; the models room has them."""


def build(name: str, **options: Any):
    """The fusion registered under `name`, as a Linen module: `build("concat", width=512)`."""
    if name in ASSEMBLIES:
        raise ConfigError(
            102,
            f"the fusion '{name}' is a whole model with encoders and task, not a module on tokens",
            where="mmjax.fusion.build",
            fix=f"name it in a config, model.fusion={name}; mmjax.models.build makes the model",
        )
    return registry.build(name, **options)


_SOLVING = ("solve_gram", "solve_weights")

__all__ = ["FusionSpec", "alignment", "build", "registry", "solve_gram", "solve_weights"]


def __getattr__(name: str) -> Any:
    if name in _SOLVING:
        return getattr(importlib.import_module("mmjax.fusion.solving"), name)
    if name == "alignment":
        return importlib.import_module("mmjax.fusion.alignment")
    raise AttributeError(f"module 'mmjax.fusion' has no attribute '{name}'")
