"""T5, mT5 and UMT5."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmjax import encoders
from mmjax.core.errors import WeightsError
from mmjax.core.registry import Spec
from mmjax.pretrained.families.bart import seq2seq_inputs
from mmjax.pretrained.family import Family, Names, activation, only, text_inputs
from mmjax.pretrained.rules import Table, attention, dense, embedding, norm, param

PROJECTIONS = ("q", "k", "v", "o")
HEADS = (r"classification_head\..*", r"qa_outputs\..*", r"classifier\..*")
_BIAS = "SelfAttention.relative_attention_bias.weight"


def block(theirs: str, ours: str, config: Any, *, cross: bool, bias: bool) -> Table:
    """One layer; `bias` where it has a table of relative positions of its own."""
    own = f"{theirs}.layer.0"
    table = [
        *attention(
            f"{own}.SelfAttention",
            f"{ours}/attention",
            config.num_heads,
            names=PROJECTIONS,
            bias=False,
        ),
        *norm(f"{own}.layer_norm", f"{ours}/attention_norm", bias=False),
    ]
    if bias:
        table += param(f"{own}.{_BIAS}", f"{ours}/relative_bias/table")
    if cross:
        table += attention(
            f"{theirs}.layer.1.EncDecAttention",
            f"{ours}/cross_attention",
            config.num_heads,
            names=PROJECTIONS,
            bias=False,
        )
        table += norm(f"{theirs}.layer.1.layer_norm", f"{ours}/cross_attention_norm", bias=False)
    last = f"{theirs}.layer.{2 if cross else 1}"
    inputs = {"wi_0": "gate", "wi_1": "up"} if config.is_gated_act else {"wi": "up"}
    for name, our_name in {**inputs, "wo": "down"}.items():
        table += dense(f"{last}.DenseReluDense.{name}", f"{ours}/mlp/{our_name}", bias=False)
    table += norm(f"{last}.layer_norm", f"{ours}/mlp_norm", bias=False)
    return table


def side(theirs: str, ours: str, config: Any, *, depth: int, cross: bool) -> Table:
    each = config.model_type == "umt5"
    table = norm(f"{theirs}.final_layer_norm", f"{ours}norm", bias=False)
    if not each:
        table += param(f"{theirs}.block.0.layer.0.{_BIAS}", f"{ours}relative_bias/table")
    for i in range(depth):
        stack = f"{ours}stack/layer_{i}"
        table += block(f"{theirs}.block.{i}", stack, config, cross=cross, bias=each)
    return table


def encoder_table(config: Any) -> Table:
    return [
        *embedding("shared", "words"),
        *side("encoder", "", config, depth=config.num_layers, cross=False),
    ]


def table(config: Any) -> Table:
    found = [
        *embedding("shared", "encoder/words"),
        *side("encoder", "encoder/", config, depth=config.num_layers, cross=False),
        *side("decoder", "decoder/", config, depth=config.num_decoder_layers, cross=True),
    ]
    if not config.tie_word_embeddings:
        found += dense("lm_head", "head", bias=False)
    return found


def aliases(config: Any) -> Mapping[str, str]:
    sides = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
    tied = ("lm_head.weight",) if config.tie_word_embeddings else ()
    return dict.fromkeys((*sides, *tied), "shared.weight")


def encoder_options(config: Any) -> dict[str, Any]:
    return {
        "vocab_size": config.vocab_size,
        "width": config.d_model,
        "depth": config.num_layers,
        "heads": config.num_heads,
        "head_dim": config.d_kv,
        "mlp_dim": config.d_ff,
        "gated": config.is_gated_act,
        "activation": activation(config.dense_act_fn, "feed_forward_proj"),
        "eps": config.layer_norm_epsilon,
        "dropout": config.dropout_rate,
        "attention_dropout": config.dropout_rate,
        "buckets": config.relative_attention_num_buckets,
        "longest": config.relative_attention_max_distance,
        "layer_bias": config.model_type == "umt5",
    }


def spec(config: Any, names: Names) -> Spec:
    if names and not any(name.startswith("decoder.block") for name in names):
        raise WeightsError(
            652,
            f"this '{config.model_type}' has an encoder only",
            fix='load its part "encoder", as in load_pretrained("folder#encoder")',
        )
    only(config, tie_encoder_decoder=False)
    return Spec(
        "t5",
        decoder_depth=config.num_decoder_layers,
        tied=config.tie_word_embeddings,
        **encoder_options(config),
    )


def whole(name: str, part: str) -> Family:
    return Family(
        spec=spec,
        table=table,
        inputs=seq2seq_inputs,
        saved_as=f"{name}ForConditionalGeneration",
        registry=encoders.decoders,
        left_out=HEADS,
        # A table that old checkpoints of T5 hold, and that nothing reads.
        ignored=(r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",),
        renames=((r"^transformer\.", ""),),
        aliases=aliases,
        parts={"encoder": part},
    )


def encoder(name: str) -> Family:
    """The encoder alone, of its own folder or of the whole's."""
    return Family(
        spec=lambda config, names: Spec("t5_encoder", **encoder_options(config)),
        table=encoder_table,
        inputs=text_inputs,
        saved_as=f"{name}EncoderModel",
        left_out=(r"decoder\..*", r"lm_head\.weight", *HEADS),
        renames=((r"^transformer\.", ""),),
        aliases=lambda config: {"encoder.embed_tokens.weight": "shared.weight"},
    )


T5 = whole("T5", "t5_encoder")
T5_ENCODER = encoder("T5")
MT5 = whole("MT5", "mt5_encoder")
MT5_ENCODER = encoder("MT5")
UMT5 = whole("UMT5", "umt5_encoder")
UMT5_ENCODER = encoder("UMT5")
