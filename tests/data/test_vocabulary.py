"""Which ids begin a word, and the other facts that hiding tokens wants."""

import numpy as np
import pytest

from mmjax.data.modalities.text import Text
from mmjax.data.table import Table
from mmjax.data.tokenization import HuggingFace
from mmjax.data.vocabulary import unpack, word_starts

NAMES = ["grinning face", "red heart", "face with tears of joy", "hearts", "faces"]


def fitted(**options):
    table = Table({"name": NAMES}, "t", "f")
    return Text("name", **options).fit(table, np.arange(len(NAMES)))


@pytest.mark.parametrize(
    ("pieces", "special", "want"),
    [
        (["[CLS]", "un", "##believ", "##able", "."], [0], [1, 1, 0, 0, 1]),
        # GPT-2 has pieces "##" too, which are no marks there.
        (["<s>", "\u0120the", "re", "##", "\u0120a"], [0], [1, 1, 0, 0, 1]),
        (["</s>", "\u2581the", "re", "<extra>"], [0, 3], [1, 1, 0, 1]),
        (["the</w>", "re", "a</w>"], [], None),
        (["a", "b"], [], None),
    ],
)
def test_marks(pieces, special, want):
    packed = word_starts(pieces, special)
    if want is None:
        assert packed is None
        return
    assert unpack(packed, len(pieces)).tolist() == [bool(one) for one in want]
    assert unpack(packed, 20)[len(pieces) + 8 :].all()
    assert unpack(packed, 2).tolist() == [bool(one) for one in want[:2]]


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_learnt_tokenizers(kind, tmp_path):
    """The facts outlive the file; put together at the starts, pieces are the words of the text."""
    modality = Text("name", tokenizer=kind, vocab_size=300)
    first = fitted(tokenizer=kind, vocab_size=300)
    first.save(tmp_path)
    for processor in (first, modality.load(tmp_path)):
        facts = processor.facts
        backend = processor._tokenizer._backend
        assert backend.id_to_token(facts["mask_id"]) in ("[MASK]", "<mask>")
        assert facts["special_ids"] == (0, 1, 2, 3, 4)
        starts = unpack(facts["word_starts"], facts["vocab_size"])
        ids = backend.encode("face with tears of hearts").ids
        assert {ids[0], ids[-1]} <= set(facts["special_ids"])
        assert starts[ids[1:-1]].sum() == 5
        assert starts[ids[1]]


def test_bags_hide_behind_the_unknown():
    facts = fitted(tokenizer="subwords", buckets=10).facts
    assert (facts["mask_id"], facts["special_ids"], facts["word_starts"]) == (1, (0, 1), None)


def hugging_face(**special):
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    vocab = {"<unk>": 0, "\u0120a": 1, "b": 2, "<mask>": 3, "\u0120c": 4}
    backend = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    return HuggingFace(
        PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", **special), 8
    )


def test_hugging_face_tokenizers(caplog):
    masked = hugging_face(mask_token="<mask>")
    assert (masked.mask_id, masked.special_ids) == (3, (0, 3))
    assert unpack(masked.word_starts, 5).tolist() == [True, True, False, True, True]
    without = hugging_face()
    assert (without.mask_id, without.special_ids) == (None, (0,))
    assert not caplog.records
