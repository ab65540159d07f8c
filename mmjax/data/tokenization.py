"""Texts to token ids: tokenizers trained here, Hugging Face's, and bags of subwords."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from mmjax.core.errors import ConfigError, nearest
from mmjax.core.extras import MissingExtra
from mmjax.core.packages import locate
from mmjax.data import fast_tokenizer
from mmjax.data.spelling import of_pieces, written
from mmjax.data.subwords import Encoded, Subwords
from mmjax.data.vocabulary import word_starts

TRAINED = ("wordpiece", "bpe", "characters")
OURS = (*TRAINED, "subwords")
_MOST_CHARACTERS = 1000
_MASKS = ("[MASK]", "<mask>")
_STARTS, _ENDS = ("[CLS]", "<s>"), ("[SEP]", "</s>")


class Placed(NamedTuple):
    """An encoded text, with where its tokens stand in it."""

    ids: list[int]
    segments: list[int] | None
    ranges: list[tuple[int, int]]
    """The half-open range of characters of each token; (0, 0) for a special one."""


@runtime_checkable
class Tokenizer(Protocol):
    """What a text modality asks of a tokenizer."""

    vocab_size: int
    pad_id: int
    segments: bool
    """Whether `Encoded.segments` is given."""
    mask_id: int | None
    """What stands for a hidden token; None if it has no such id."""
    special_ids: tuple[int, ...]
    """Of no text: padding, beginning, end, unknown, mask and the like; ascending."""
    word_starts: str | None
    """The ids that begin a word, as `vocabulary` packs them; None if that is not in the ids."""

    def encode(self, text: str) -> Encoded:
        """The ids of a text, cut to the tokenizer's longest."""

    def save(self, folder: Path) -> None:
        """Writes files that need no code to be read."""


class Trained:
    """A tokenizer of the `tokenizers` library, kept as `tokenizer.json`.

    `start_id` and `end_id` are what it puts around a text, None if nothing.
    """

    segments = False

    def __init__(self, backend: Any, max_length: int):
        self._backend = backend
        self._backend.no_padding()
        self._backend.enable_truncation(max_length)
        # A text that says "[SEP]" is text.
        self._backend.encode_special_tokens = True
        self.vocab_size = int(backend.get_vocab_size())
        self.pad_id = 0
        added = backend.get_added_tokens_decoder()
        self.special_ids = tuple(sorted(i for i, token in added.items() if token.special))

        def special(names: Iterable[str]) -> int | None:
            return next((i for i in self.special_ids if added[i].content in names), None)

        self.mask_id: int | None = special(_MASKS)
        self.start_id: int | None = special(_STARTS)
        self.end_id: int | None = special(_ENDS)
        pieces = [backend.id_to_token(i) or "" for i in range(self.vocab_size)]
        self.word_starts = word_starts(pieces, self.special_ids)

    @classmethod
    def train(
        cls, kind: str, texts: Iterable[str], *, vocab_size: int, max_length: int, lower_case: bool
    ) -> Trained:
        """WordPiece in BERT's form, byte-level BPE in RoBERTa's, or characters, from `texts`."""
        makers = {"wordpiece": _wordpiece, "bpe": _byte_pairs, "characters": _by_character}
        return cls(makers[kind](texts, vocab_size, lower_case), max_length)

    @classmethod
    def load(cls, folder: Path, max_length: int) -> Trained:
        """What `save` wrote."""
        import tokenizers

        return cls(tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")), max_length)

    def encode(self, text: str) -> Encoded:
        return Encoded(self._backend.encode(text).ids)

    def placed(self, text: str) -> Placed:
        """As `encode`, with the characters of each token."""
        found = self._backend.encode(text)
        return Placed(found.ids, None, _ranges(found.offsets, found.special_tokens_mask))

    def written(self) -> str:
        """What `spelling.spelled` makes texts of ids by."""
        return written(self._backend)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._backend.save(str(folder / "tokenizer.json"))


class HuggingFace:
    """A tokenizer of `transformers`, kept as its own files."""

    def __init__(self, backend: Any, max_length: int):
        self._backend = backend
        self._max_length = max_length
        if backend.pad_token_id is None:
            # Decoder-only tokenizers have none; the mask hides whatever stands in padding.
            backend.pad_token = backend.eos_token or backend.unk_token
        self.vocab_size = len(backend)
        self.pad_id = int(backend.pad_token_id or 0)
        self.segments = "token_type_ids" in backend.model_input_names
        mask = backend.special_tokens_map.get("mask_token")
        self.mask_id = None if mask is None else int(backend.convert_tokens_to_ids(mask))
        known = backend.special_tokens_map
        start = known.get("bos_token", known.get("cls_token"))
        end = known.get("eos_token", known.get("sep_token"))
        self.start_id = None if start is None else int(backend.convert_tokens_to_ids(start))
        self.end_id = None if end is None else int(backend.convert_tokens_to_ids(end))
        self.special_ids = tuple(sorted({int(i) for i in backend.all_special_ids}))
        pieces = backend.convert_ids_to_tokens(list(range(self.vocab_size)))
        self.word_starts = word_starts([piece or "" for piece in pieces], self.special_ids)
        # The first call sets the truncation, which no two threads may do at once.
        self.encode("")

    @classmethod
    def load(cls, name: str, max_length: int) -> HuggingFace:
        """From a folder or a hub id. Raises ConfigError if there is no tokenizer."""
        from transformers import AutoTokenizer

        try:
            return cls(AutoTokenizer.from_pretrained(locate(name)), max_length)
        except ImportError as error:
            raise MissingExtra(
                114,
                f"the tokenizer '{name}' needs a package: {str(error).strip().splitlines()[0]}",
                fix="pip install 'mmjax[sentencepiece]'",
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _no_tokenizer(name, f": {str(error).splitlines()[0]}") from error

    def encode(self, text: str) -> Encoded:
        found = self._backend(text, truncation=True, max_length=self._max_length)
        return Encoded(found["input_ids"], found["token_type_ids"] if self.segments else None)

    def placed(self, text: str) -> Placed:
        """As `encode`, with the characters of each token.

        Raises ConfigError for a tokenizer that has no `tokenizer.json` and cannot make one.
        """
        if not self._backend.is_fast:
            raise ConfigError(
                110,
                f"the tokenizer {type(self._backend).__name__} does not tell where its tokens are",
                where="offsets of a text modality",
                fix="choose a tokenizer with a tokenizer.json, or wordpiece or bpe",
            )
        found = self._backend(
            text,
            truncation=True,
            max_length=self._max_length,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )
        ranges = _ranges(found["offset_mapping"], found["special_tokens_mask"])
        segments = found["token_type_ids"] if self.segments else None
        return Placed(found["input_ids"], segments, ranges)

    def written(self) -> str:
        """What `spelling.spelled` makes texts of ids by.

        Raises ConfigError for one that has no `tokenizer.json`, cannot make one, and has no pieces
        of SentencePiece.
        """
        if self._backend.is_fast:
            return written(self._backend.backend_tokenizer)
        pieces = getattr(self._backend, "current_encoder", None) or self._backend.get_vocab()
        return of_pieces(pieces, self._backend.all_special_tokens)

    def of_targets(self) -> HuggingFace:
        """As it cuts what is written, where that is not as it cuts what is read (Marian's)."""
        if hasattr(self._backend, "spm_target"):
            # It goes back to what is read after each call, which other threads would see.
            self._backend._switch_to_input_mode = self._backend._switch_to_target_mode
            self._backend._switch_to_target_mode()
        return self

    def save(self, folder: Path) -> None:
        self._backend.save_pretrained(str(folder))

    def keep(self, folder: Path) -> bool:
        """Writes what needs no `transformers` to be read (`fast_tokenizer`); False if it cannot."""
        if self._backend.is_fast:
            fast_tokenizer.keep(self, self._backend, folder)
        return bool(self._backend.is_fast)


def _ranges(offsets: Iterable[tuple[int, int]], special: Iterable[int]) -> list[tuple[int, int]]:
    return [(0, 0) if is_special else one for one, is_special in zip(offsets, special, strict=True)]


def check_name(name: str) -> None:
    """Raises ConfigError for what is nearly one of our names: the hub would be asked for it."""
    if name not in OURS and difflib.get_close_matches(name, OURS, cutoff=0.75):
        raise _no_tokenizer(name)


def _no_tokenizer(name: str, why: str = "") -> ConfigError:
    return ConfigError(
        110,
        f"no tokenizer '{name}'{why}",
        fix=f"{nearest(name, OURS)}, a folder with tokenizer files, or a hub id",
    )


def load(kind: str, folder: Path, max_length: int) -> Tokenizer:
    """The tokenizer of kind `kind` that was saved in `folder`."""
    if (folder / fast_tokenizer.FILE).is_file():
        return fast_tokenizer.Fast.load(folder, max_length)
    if kind in TRAINED:
        return Trained.load(folder, max_length)
    if kind == "subwords":
        return Subwords.load(folder, max_length)
    return HuggingFace.load(str(folder), max_length)


def _wordpiece(texts: Iterable[str], vocab_size: int, lower_case: bool) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    # Accents stay: stripping them, as BERT does with lower case, would maim Indic vowel signs.
    normalizer = normalizers.BertNormalizer(lowercase=lower_case, strip_accents=False)
    splitter = pre_tokenizers.BertPreTokenizer()
    words: Counter[str] = Counter()
    for text in texts:
        pieces = splitter.pre_tokenize_str(normalizer.normalize_str(text))
        words.update(piece for piece, _ in pieces)
    first, later = _characters(words)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    # The trainer numbers "##x" pieces in the order of a hash table that differs between processes,
    # and breaks ties by number, so that hosts would learn different pieces. Handing them over as
    # special tokens numbers them here; the pieces then go to a tokenizer without those specials.
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=special + [f"##{character}" for character in later],
        initial_alphabet=first,
        limit_alphabet=len(first),
        show_progress=False,
    )
    scratch = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    scratch.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    scratch.train_from_iterator(
        (word for word in sorted(words) for _ in range(words[word])), trainer
    )
    vocab = scratch.get_vocab(with_added_tokens=True)
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.add_special_tokens(special)
    ends = [(token, vocab[token]) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=ends)
    return tokenizer


def _characters(words: Mapping[str, int]) -> tuple[list[str], list[str]]:
    """The most frequent characters, and those of them that occur inside a word."""
    counts: Counter[str] = Counter()
    inside: set[str] = set()
    for word, count in words.items():
        counts.update(dict.fromkeys(word, count))
        inside.update(word[1:])
    frequent = sorted(counts, key=lambda character: (-counts[character], character))
    alphabet = sorted(frequent[:_MOST_CHARACTERS])
    return alphabet, [character for character in alphabet if character in inside]


def _byte_pairs(texts: Iterable[str], vocab_size: int, lower_case: bool) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    steps = [normalizers.NFC(), *([normalizers.Lowercase()] if lower_case else [])]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    special = ["<pad>", "<unk>", "<s>", "</s>", "<mask>"]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    ends = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=ends)
    return tokenizer


def _by_character(texts: Iterable[str], vocab_size: int, lower_case: bool) -> Any:
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    steps = [normalizers.NFC(), *([normalizers.Lowercase()] if lower_case else [])]
    normalizer = normalizers.Sequence(steps)
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(normalizer.normalize_str(text))
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    common = sorted(counts, key=lambda one: (-counts[one], one))[: max(0, vocab_size - 5)]
    vocab = {one: i for i, one in enumerate([*special, *sorted(common)])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.add_special_tokens(special)
    ends = [(token, vocab[token]) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=ends)
    return tokenizer
