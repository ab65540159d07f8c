"""Why a model said what it said: one file a method, any task, any fusion.

A method is a frozen dataclass, `base.Method`, called as `method(subject, batch, choice) -> Found`.
A `subject.Subject` is a model with its variables; what of a row is explained is one number, its
score, which `mmjax.explain.scores` lists by task: the log-odds of the predicted class, a value, the
log-probability of a text. Inputs are told apart as features that can be differentiated and hidden
(`features.py`), token ids by interception of their embeddings, so that no model knows of
explanations. `probes.py` looks into attention and convolutions in the same way, also where layers
are scanned.

- How much each modality matters: `shapley`, `weights`, `permutation`.
- Where it looked: `attention`, `rollout`, `attention_gradients`, `grad_cam`, `hires_cam`,
  `gradients`, `integrated_gradients`, `smooth_grad`, `alignment`.
- Why this row: `neighbours`, `swaps`, `occlusion`.
- Is it true: `curves.py` (deletion and insertion) and `randomised.py`, reported beside each method
  that says where.

What is written (`writing.py`), to `RUN/explanations/` unless told otherwise:

    explanations.jsonl      one line a row and method, `Explanation.as_json`: {"row", "id",
                            "method", "explained", "score", "modalities": {name: number}, "parts":
                            {name: {...}}, "facts": {...}, "checks": {...}, "picture": path or null}
    summary.json            {"split", "rows", "explained", "methods": {name: {"about", "modalities":
                            {name: mean of sizes}, "facts", "checks"}}}
    pictures/ROW-METHOD.png what `Explanation.draw` draws; ROW as in the line's "row"
    index.html              all of it on one page that loads nothing

Paths in it are relative to the folder.

To add a method: a file with the dataclass, and a line below. A task whose outputs are no classes,
labels or values takes a file and a line in `scores`.
"""

from __future__ import annotations

from mmjax.core.registry import Registry
from mmjax.explain.explanation import Explanation, Part

methods = Registry(
    "explanation",
    {
        "shapley": "mmjax.explain.shapley:Shapley",
        "weights": "mmjax.explain.weights:Weights",
        "permutation": "mmjax.explain.permutation:Permutation",
        "attention": "mmjax.explain.attention:AttentionMaps",
        "rollout": "mmjax.explain.rollout:Rollout",
        "attention_gradients": "mmjax.explain.attention_gradients:AttentionGradients",
        "grad_cam": "mmjax.explain.grad_cam:GradCam",
        "hires_cam": "mmjax.explain.hires_cam:HiResCam",
        "gradients": "mmjax.explain.gradients:Gradients",
        "integrated_gradients": "mmjax.explain.integrated_gradients:IntegratedGradients",
        "smooth_grad": "mmjax.explain.smooth_grad:SmoothGrad",
        "alignment": "mmjax.explain.alignment:Alignment",
        "neighbours": "mmjax.explain.neighbours:Neighbours",
        "swaps": "mmjax.explain.swaps:Swaps",
        "occlusion": "mmjax.explain.occlusion:Occlusion",
    },
)

__all__ = ["Explanation", "Part", "methods"]
