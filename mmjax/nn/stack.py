"""The one layer loop: any block, repeated, scanned or unrolled, rematerialised or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import jax
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.nn.cache import COLLECTION
from mmjax.parallel.sharding import spread

Remat = Literal["none", "full", "dots", "branches", "offload"]
"""What the backward pass computes again: nothing, every block, all but its matrix products, or all
but what each branch adds (`NAMES`). "offload" is "branches" with these in the host's memory, which
TPUs and GPUs can."""

NAMES = ("attention", "cross_attention", "mlp")
"""What blocks call the outputs of their branches (`jax.ad_checkpoint.checkpoint_name`)."""

_POLICIES: dict[str, Any] = {
    "full": None,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "branches": jax.checkpoint_policies.save_only_these_names(*NAMES),
    "offload": jax.checkpoint_policies.save_and_offload_only_these_names(
        names_which_can_be_saved=[],
        names_which_can_be_offloaded=list(NAMES),
        offload_src="device",
        offload_dst="pinned_host",
    ),
}


class Stack(nn.Module, kw_only=True):
    """`depth` blocks in a row, each called as `block(values, *context, *own, train=...)`.

    `values` is an array, or a tree of arrays whose structure and shapes the blocks keep. `own` are
    a block's rows of the arrays `layerwise`, whose first axis are the layers.

    With `scan`, parameters are stacked along a leading `layers` axis under `layers`, and the block
    is compiled once; otherwise they are `layer_0`, `layer_1`, ... The results are equal. What each
    block returns is sown as its `intermediates/hidden`. With `shared`, one block (`shared`) is
    applied `depth` times (ALBERT).

    Of the blocks, those from `start` up to `stop` are applied (all of them), and only these get
    parameters. Raises ConfigError for a part of a stack that is scanned.
    """

    block: type[nn.Module]
    settings: Mapping[str, Any]
    depth: int
    scan: bool = False
    remat: Remat = "none"
    shared: bool = False

    @nn.compact
    def __call__(
        self,
        values: Any,
        *context: Any,
        layerwise: tuple = (),
        start: int = 0,
        stop: int | None = None,
        train: bool,
    ) -> Any:
        stop = self.depth if stop is None else stop
        if self.scan and (start, stop) != (0, self.depth):
            raise ConfigError(109, "part of a stack of scanned blocks", fix="scan=False")

        def apply(block: nn.Module, values: Any, context: tuple, own: tuple) -> Any:
            values = spread(block(spread(values), *context, *own, train=train))
            block.sow("intermediates", "hidden", values)
            return values

        if self.remat != "none":
            apply = nn.remat(apply, prevent_cse=not self.scan, policy=_POLICIES[self.remat])
        one = self.block(**self.settings, name="shared") if self.shared else None
        if not self.scan:
            for index in range(start, stop):
                block = one or self.block(**self.settings, name=f"layer_{index}")
                own = jax.tree.map(lambda rows, index=index: rows[index], layerwise)
                values = apply(block, values, context, own)
            return values
        axes: dict[Any, Any] = {"intermediates": 0, COLLECTION: 0}
        if not self.shared:
            axes["params"] = 0
        scanned = nn.scan(
            lambda block, values, context, own: (apply(block, values, context, own), None),
            variable_axes=axes,
            variable_broadcast="params" if self.shared else False,
            split_rngs={"params": not self.shared, "dropout": True},
            in_axes=(nn.broadcast, 0),
            length=self.depth,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )
        block = one or self.block(**self.settings, name="layers")
        values, _ = scanned(block, values, context, layerwise)
        return values
