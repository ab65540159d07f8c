"""Token ids back to text, by what a run keeps of the tokenizer."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from mmjax.core.errors import ConfigError


def written(backend: Any) -> str:
    """A tokenizer of the `tokenizers` library as JSON, with what joins its pieces."""
    import tokenizers
    from tokenizers import decoders

    copy = tokenizers.Tokenizer.from_str(backend.to_str())
    copy.no_padding()
    copy.no_truncation()
    if copy.decoder is None:
        kinds: dict[str, Any] = {
            "WordPiece": decoders.WordPiece,
            "BPE": decoders.ByteLevel,
            "WordLevel": decoders.Fuse,
        }
        kind = type(copy.model).__name__
        if kind not in kinds:
            raise ConfigError(
                110, f"a tokenizer of kind {kind} has no decoder", fix="wordpiece, bpe, characters"
            )
        copy.decoder = kinds[kind]()
    return copy.to_str()


def of_pieces(vocabulary: Mapping[str, int], special: Sequence[str]) -> str:
    """A SentencePiece vocabulary as JSON that spells its ids: pieces in a row, "\u2581" a blank.

    Raises ConfigError for pieces of another kind.
    """
    import tokenizers
    from tokenizers import decoders

    if not any(piece.startswith("\u2581") for piece in vocabulary):
        raise ConfigError(
            110,
            "the tokenizer does not tell how ids are spelled",
            fix="choose a tokenizer with a tokenizer.json, or bpe",
        )
    unknown = next(iter(special), next(iter(vocabulary)))
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(dict(vocabulary), unk_token=unknown))
    made.decoder = decoders.Metaspace()
    made.add_special_tokens([one for one in special if one in vocabulary])
    return made.to_str()


@functools.lru_cache(maxsize=8)
def _loaded(tokenizer: str) -> Any:
    import tokenizers

    return tokenizers.Tokenizer.from_str(tokenizer)


def spelled(tokenizer: str, ids: Sequence[int], end: int | None = None) -> str:
    """The text of ids up to the first `end`, without special tokens and blanks around it.

    `tokenizer` is what `written` gave. Ids that it does not have are left out.
    """
    kept = [int(one) for one in ids]
    if end is not None and end in kept:
        kept = kept[: kept.index(end)]
    kept = [one for one in kept if one >= 0]
    return _loaded(tokenizer).decode(kept, skip_special_tokens=True).strip()
