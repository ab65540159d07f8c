"""A Hugging Face tokenizer without its library: `tokenizer.json`, and what that leaves out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmjax.core.files import read_json, write_json
from mmjax.data.subwords import Encoded

FILE = "fast.json"
_FACTS = ("vocab_size", "pad_id", "mask_id", "special_ids", "word_starts", "segments")


class Fast:
    """What `tokenization.HuggingFace` does, with the `tokenizers` library alone.

    `keep` writes it from one that has a `tokenizer.json`.
    """

    def __init__(self, backend: Any, facts: dict[str, Any], max_length: int):
        self._backend = backend
        self._facts = facts
        self._backend.no_padding()
        self._backend.enable_truncation(max_length, direction=facts["truncation_side"])
        self.vocab_size = int(facts["vocab_size"])
        self.pad_id = int(facts["pad_id"])
        self.mask_id: int | None = facts["mask_id"]
        self.special_ids = tuple(facts["special_ids"])
        self.word_starts: str | None = facts["word_starts"]
        self.segments = bool(facts["segments"])

    @classmethod
    def load(cls, folder: Path, max_length: int) -> Fast:
        """What `keep` wrote."""
        import tokenizers

        backend = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        return cls(backend, read_json(folder / FILE), max_length)

    def encode(self, text: str) -> Encoded:
        """The ids of a text, cut to the tokenizer's longest."""
        found = self._backend.encode(text)
        return Encoded(found.ids, found.type_ids if self.segments else None)

    def placed(self, text: str) -> Any:
        """As `encode`, with the characters of each token."""
        from mmjax.data.tokenization import Placed

        found = self._backend.encode(text)
        pairs = zip(found.offsets, found.special_tokens_mask, strict=True)
        ranges = [(0, 0) if special else one for one, special in pairs]
        return Placed(found.ids, found.type_ids if self.segments else None, ranges)

    def save(self, folder: Path) -> None:
        """`tokenizer.json` and `fast.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        self._backend.save(str(folder / "tokenizer.json"))
        write_json(folder / FILE, self._facts)


def keep(tokenizer: Any, backend: Any, folder: Path) -> None:
    """Writes what `Fast.load` reads of a `tokenization.HuggingFace` and its fast backend."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {name: getattr(tokenizer, name) for name in _FACTS}
    facts["special_ids"] = list(facts["special_ids"])
    facts["truncation_side"] = backend.truncation_side
    (folder / "tokenizer.json").write_text(backend.backend_tokenizer.to_str(), encoding="utf-8")
    write_json(folder / FILE, facts)
