"""Assemblies: encoders, fusion and task in one Linen module.

`config.py` has the settings and `build.py` turns them and the facts of the data into the module.
`base.py` is what all assemblies share, `missing.py` what stands in for modalities that a row lacks,
`regularizing.py` what R-Drop and mixup are made of. `multimodal.py` fuses features or tokens by a
method of the fusion room; others are named in the config like those methods, but need more than
tokens:

- `decision.py` gives each modality a head of its own and combines what they decide, by one of the
  `combinations` (`combining.py`);
- `hybrid.py` lets the encoders exchange tokens between their blocks (`exchange.py`).

To add one: a file with the module, and a line below.
"""

from __future__ import annotations

from typing import Annotated

from mmjax import fusion
from mmjax.core.registry import Registry, Spec

assemblies = Registry(
    "assembly",
    {
        "decision": "mmjax.models.decision:Decision",
        "hybrid": "mmjax.models.hybrid:Hybrid",
        "two_tower": "mmjax.models.two_tower:TwoTower",
    },
)

fusions = fusion.registry.joined(assemblies)
"""All that `model.fusion` may name."""

combinations = Registry(
    "combination",
    {
        "average": "mmjax.models.combining:Average",
        "weighted": "mmjax.models.combining:Weighted",
        "product_of_experts": "mmjax.models.combining:ProductOfExperts",
        "majority_vote": "mmjax.models.combining:MajorityVote",
        "stacking": "mmjax.models.combining:Stacking",
        "dempster_shafer": "mmjax.models.combining:DempsterShafer",
    },
)

AnyFusionSpec = Annotated[Spec, fusions]
CombinationSpec = Annotated[Spec, combinations]
