"""The whole of an experiment in one frozen dataclass."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

from mmjax.adapt import AdaptSpec
from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig
from mmjax.models.config import ModelConfig
from mmjax.objectives import ObjectiveSpec
from mmjax.parallel.mesh import MeshConfig
from mmjax.tasks import TaskSpec


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """The update rule, its schedule, and what it leaves alone."""

    name: Literal["adamw", "lion", "sgd"] = "adamw"
    learning_rate: float = 1e-3
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    warmup: str = "5%"
    """Linear from 0; a length such as "200 steps", "1 epoch" or "5%" of the run."""
    end_fraction: float = 0.0
    """The learning rate at the end, as a share of the peak."""
    weight_decay: float = 0.01
    no_decay: tuple[str, ...] = (
        r"/(bias|scale|class_token|positions|weights|logits|logit_scale|logit_bias)$",
    )
    """Parameters whose path ("/encoders_text/words/embedding") one of these finds do not decay."""
    decays: Mapping[str, float] = dataclasses.field(
        default_factory=dict, metadata={"unsaid": "by default"}
    )
    """Weight decays by pattern, in place of `weight_decay`; the first that finds the path holds.
    What `no_decay` finds does not decay whatever they say."""
    l1: float = dataclasses.field(default=0.0, metadata={"unsaid": "by default"})
    """With more than 0, each step also moves what decays by so many times the learning rate towards
    0, and no further: weights that are not needed end there. Beside `weight_decay`, elastic net."""
    multipliers: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Learning-rate factors by pattern; the first that finds the path holds, 0 freezes. A rate for
    each modality is `{"^/encoders_text/": 0.1, "^/encoders_image/": 1.0}`."""
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    momentum: float = 0.9
    """For sgd."""
    max_grad_norm: float | None = 1.0
    moments: Literal["", "bfloat16", "int8"] = dataclasses.field(
        default="", metadata={"unsaid": "by default"}
    )
    """What the rule's moments are kept in between steps: half or a quarter of the bytes of float32.
    If empty, what parameters are stored in."""
    gradient_noise: float = dataclasses.field(default=0.0, metadata={"unsaid": "by default"})
    """With more than 0, the gradient of each array of an encoder gains Gaussian noise of so many
    times its own standard deviation: the GE of OGM-GE (Peng et al. 2022), where it is 1."""
    sam: float = dataclasses.field(default=0.0, metadata={"unsaid": "by default"})
    """With more than 0, the radius of sharpness-aware minimisation (Foret et al. 2021), around any
    update rule; such as 0.05. A step takes two gradients."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How long, how often, and what is kept. Lengths: "20 epochs", "500 steps", "1000 examples"."""

    duration: str = "10 epochs"
    gradient_accumulation_steps: int = 1
    steps_per_call: int = dataclasses.field(default=1, metadata={"unsaid": "by default"})
    """So many steps in one program, the same as one by one: the host starts it once for all of
    them, which tells where a step takes few milliseconds. Batches of one shape, and none beyond a
    line of metrics, an evaluation or a checkpoint, for which signals wait, too."""
    ema_decay: float = 0.0
    """Evaluates and keeps an exponential average of the parameters; 0 keeps none."""
    average_from: str = dataclasses.field(default="", metadata={"unsaid": "by default"})
    """From here on, such as "75%" of the run, evaluates and keeps the mean of the parameters after
    each step (stochastic weight averaging), in place of an exponential average."""
    evaluate_every: str = "1 epoch"
    save_every: str = "1 epoch"
    log_every: str = "20 steps"
    best_metric: str = "accuracy"
    """The validation metric that chooses the checkpoint: the lowest of a loss or an error (such as
    "loss", "log_loss", "ece"), the highest of any other."""
    early_stopping_patience: int | None = None
    """Stops after this many evaluations in a row that are not better by more than
    `early_stopping_threshold`."""
    early_stopping_threshold: float = 0.0
    keep_last: int = 2
    keep_best: int = 1
    """So many of the best checkpoints; a new best is saved whatever `save_every` says."""
    max_skipped: int = 3
    """Steps with a non-finite loss or gradient in a row that are skipped before giving up."""
    single_modality_baselines: bool = False
    """Also trains each modality alone, with the same budget, and reports them beside the whole."""
    before_after: Literal["", "always", "never"] = dataclasses.field(
        default="", metadata={"unsaid": "by default"}
    )
    """Whether a run that began from pretrained weights is told beside them on the same rows: by the
    names of classes alone, by a linear probe, and tuned. Empty: where that costs little."""
    writers: tuple[str, ...] = ("jsonl",)
    feature_cache: Mapping[str, str] = dataclasses.field(
        default_factory=dict, metadata={"unsaid": "by default"}
    )
    """Modality -> folder in which what its encoder makes of each row is kept, or "auto": it is then
    made once, and training runs on it; if empty, it is not. For encoders that are frozen as a
    whole, without dropout, and rows without augmentation; the run is the same as without."""


@dataclasses.dataclass(frozen=True)
class InitConfig:
    """Another run that this one starts from: its parameters, its tokenizers and statistics.

    A pattern is a glob over names such as "encoders_text/words/embedding", of which `*` takes any
    part; it also means what lies below a name that it finds ("encoders_text").
    """

    run: str = ""
    """The folder of the run; it is read once, when this one begins."""
    step: Literal["best", "latest"] | int = "best"
    include: tuple[str, ...] = ("*",)
    """Parameters of this run that are taken, as far as the other run has them."""
    exclude: tuple[str, ...] = ()
    """Of those, the ones that stay new."""
    modalities: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Modality -> that of the other run whose encoder and processor it takes; if empty, those of
    one name."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that a run depends on."""

    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    task: TaskSpec = Spec("classification")
    objectives: Mapping[str, ObjectiveSpec] = dataclasses.field(default_factory=dict)
    """Terms of a pretraining loss, by names of your own; with any, `task` has no part."""
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    init: InitConfig | None = None
    """What parameters start from, such as `init.run=runs/pretrain`; all are new if None."""
    adapt: Mapping[str, AdaptSpec] = dataclasses.field(
        default_factory=dict, metadata={"unsaid": "by default"}
    )
    """What is trained, and how, by names of your own: adapters such as LoRA, parts alone, or layers
    at their own rates. Parts with adapters are frozen, but for what `optimizer.multipliers` names.
    """
    seed: int = 0
