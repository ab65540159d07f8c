"""The model-level assembly: encoders that exchange tokens between their blocks."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import ClassVar, Literal

import jax.numpy as jnp

from mmjax import fusion
from mmjax.core.errors import ConfigError, nearest
from mmjax.core.registry import Spec, fact
from mmjax.core.types import Batch, Fused, Tokens
from mmjax.core.typing import Dtype
from mmjax.encoders.halting import Halted, halt
from mmjax.fusion import FusionSpec
from mmjax.models.base import Fields, Fusing, Present
from mmjax.models.encoding import encode_views
from mmjax.models.exchange import Exchange
from mmjax.nn.pooling import masked_mean

Places = tuple[int, ...]

SUCH_AS = "text_transformer, vit, spectrogram_transformer, video_transformer or time_series"
"""Encoders made of transformer blocks."""


class Hybrid(Fusing, kw_only=True):
    """Encoders of transformer blocks exchange tokens by `method` after some of their blocks.

    `exchange` says after how many: the same numbers for all encoders that have blocks, or by
    modality, as many places each; empty is once, after half of each encoder's blocks. Every place
    has a fusion of its own. Encoders without blocks take part in the last fusion, `fusion`, alone.

    With `streams="two"`, encoders go on to their end after an exchange. With `"single"` they stop
    at the last place, where `fusion` takes over instead of an exchange: merged attention there is
    one stream over all tokens. If `fusion` is None, it is `concat` for two streams, and
    `merged_attention` for a single one.

    A modality that is absent takes no part in an exchange; what stands in for it (`missing_tokens`)
    is given to the last fusion. A model of one modality has nothing to exchange. Losses of each
    modality alone (`auxiliary_loss`) run the encoders again, all others hidden
    from the exchanges too. Raises ConfigError for encoders that cannot exchange, or whose blocks
    are scanned, and places that they do not have.
    """

    level: ClassVar[str] = "model"

    exchange: Places | Mapping[str, Places] = ()
    method: FusionSpec = Spec("cross_attention")
    streams: Literal["two", "single"] = "two"
    fusion: FusionSpec | None = None
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    def setup(self) -> None:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        default = Spec("concat" if self.streams == "two" else "merged_attention")
        self.last_fusion = fusion.registry.build(self.fusion or default, facts=types)
        if len(self.encoders) == 1:
            return
        count = self._count()
        self.exchanges = [
            Exchange(fusion=fusion.registry.build(self.method, facts=types), **types)
            for _ in range(count if self.streams == "two" else count - 1)
        ]

    def join(self, tokens: Mapping[str, Tokens], *, train: bool) -> Fused:
        return self.last_fusion(dict(tokens), train=train)

    def only(self, name: str, tokens: Mapping[str, Tokens], batch: Batch) -> dict[str, Tokens]:
        """The encoders run again: tokens that met those of others cannot be told apart."""
        nowhere = jnp.zeros(tokens[name].mask.shape[0], bool)
        rows = tokens[name].mask.any(axis=1)
        keep = {other: rows if other == name else nowhere for other in tokens}
        return self.encode(batch, keep, train=True)

    def run_encoders(self, fields: Fields, keep: Present, *, train: bool) -> dict[str, Tokens]:
        def encode(name: str) -> Tokens:
            return encode_views(self.encoders[name], fields[name], train=train)

        if len(self.encoders) == 1:
            return {name: encode(name) for name in self.encoders}
        halted = {name: halt(functools.partial(encode, name)) for name in self._asked()}
        able = self._able(halted)
        places = {name: self._places(name, one) for name, one in able.items()}
        for index in range(self._count()):
            for name, one in able.items():
                one.advance(places[name][index])
            if index < len(self.exchanges):
                self._meet(index, able, keep, train=train)
        found = {}
        for name in self.encoders:
            if name not in able:
                found[name] = encode(name)
                continue
            if self.streams == "two":
                able[name].advance(able[name].stack.depth)
            found[name] = able[name].finish()
        return found

    def _meet(self, index: int, able: Mapping[str, Halted], keep: Present, *, train: bool) -> None:
        tokens = {}
        for name, one in able.items():
            mask = one.mask & keep[name][:, None]
            tokens[name] = Tokens(one.values, mask, masked_mean(one.values, mask))
        for name, values in self.exchanges[index](tokens, train=train).items():
            able[name].values = values

    def _asked(self) -> list[str]:
        """The modalities that are to exchange, if their encoders can."""
        if not isinstance(self.exchange, Mapping):
            return list(self.encoders)
        for name in self.exchange:
            if name not in self.encoders:
                raise ConfigError(
                    109,
                    f"'{name}', which is no modality of the model, is to exchange",
                    where="model.fusion.exchange",
                    fix=nearest(name, self.encoders),
                )
        return [name for name in self.encoders if name in self.exchange]

    def _able(self, halted: Mapping[str, Halted | None]) -> dict[str, Halted]:
        able = {name: one for name, one in halted.items() if one is not None}
        unable = [name for name in halted if name not in able]
        if len(able) < 2 or (unable and isinstance(self.exchange, Mapping)):
            kinds = [f"{type(self.encoders[name]).__name__} of '{name}'" for name in unable]
            raise ConfigError(
                109,
                f"to exchange tokens takes two encoders made of transformer blocks; not so the "
                f"{' and the '.join(kinds)}"
                if unable
                else f"to exchange tokens takes two modalities, not {len(able)}",
                where="model.fusion.exchange",
                fix=f"choose encoders such as {SUCH_AS}"
                if unable
                else "places for two modalities or more",
            )
        for name, one in able.items():
            if one.stack.scan:
                raise ConfigError(
                    109,
                    f"the blocks of '{name}' are scanned as one, so nothing comes between them",
                    where=f"model.encoders.{name}.scan",
                    fix=f"model.encoders.{name}.scan=false",
                )
        return able

    def _count(self) -> int:
        """The number of places."""
        given = self.exchange
        if not isinstance(given, Mapping):
            return max(len(given), 1)
        counts = {len(one) for one in given.values()}
        if len(counts) != 1 or 0 in counts:
            raise ConfigError(
                109,
                f"exchange has {sorted(counts)} places by modality",
                where="model.fusion.exchange",
                fix="as many places for each modality, one or more",
            )
        return counts.pop()

    def _places(self, name: str, halted: Halted) -> Places:
        depth = halted.stack.depth
        given = self.exchange[name] if isinstance(self.exchange, Mapping) else self.exchange
        places = given or (max(depth // 2, 1),)
        rising = all(a < b for a, b in zip((0, *places), places, strict=False))
        if not rising or places[-1] > depth:
            raise ConfigError(
                109,
                f"exchange after blocks {', '.join(map(str, places))} of the {depth} of '{name}'",
                where="model.fusion.exchange",
                fix=f"rising numbers from 1 to {depth}, if need be by modality: "
                f'{{"{name}": [{max(depth // 2, 1)}], ...}}',
            )
        return places
