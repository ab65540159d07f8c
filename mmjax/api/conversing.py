"""Conversations with a model or a run: what was said, and what is said next, as it comes."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from mmjax.core.errors import ConfigError, DataError, nearest
from mmjax.core.extras import MissingExtra
from mmjax.core.typing import Int
from mmjax.generate.config import GenerationConfig
from mmjax.generate.engine import Generated, OnTokens

OnText = Callable[[str], Any]
"""`on_text(more)`: what was said since the last call."""
Role = Literal["system", "user", "assistant"]
NEW_TOKENS = 256
"""Tokens of a reply at most, where nothing says otherwise."""


@dataclasses.dataclass(frozen=True)
class Turn:
    """What one side said."""

    role: Role
    text: str


class Talker(abc.ABC):
    """What can say something next."""

    media: tuple[str, ...] = ()
    """Kinds of media that may be shown beside the words."""

    @abc.abstractmethod
    def reply(
        self,
        turns: Sequence[Turn],
        media: Mapping[str, Any],
        on_text: OnText | None = None,
        **settings: Any,
    ) -> str:
        """What follows the last turn. Settings are those of `GenerationConfig`."""


class Conversation:
    """Turns with a `Talker`.

        talk = Conversation(talker("runs/dialogue"))
        talk.say("hello")

    `system` is told to a language model before everything else. Of the turns, the last `most` are
    shown to it, all of them if None. A turn that fails is forgotten.
    """

    def __init__(self, talker: Talker, *, system: str = "", most: int | None = None):
        if most is not None and most < 1:
            raise ConfigError(109, f"{most} turns", fix="1 or more")
        self.talker, self.most = talker, most
        self._system = (Turn("system", system),) if system else ()
        self.turns: list[Turn] = []
        self.media: dict[str, Any] = {}

    def reset(self) -> None:
        """Forgets what was said and shown."""
        self.turns.clear()
        self.media.clear()

    def show(self, kind: str, value: Any) -> None:
        """Something that is there beside the words from now on. Raises ConfigError for a kind that
        the talker does not see.
        """
        if kind not in self.talker.media:
            raise ConfigError(
                109,
                f"the model takes no {kind}",
                fix=nearest(kind, self.talker.media) if self.talker.media else "words alone",
            )
        self.media[kind] = value

    def say(self, text: str, on_text: OnText | None = None, **settings: Any) -> str:
        """The reply to a turn. Raises DataError for one without words."""
        if not text.strip():
            raise DataError(570, "an empty turn", fix="say something")
        asked = [*self.turns, Turn("user", text)]
        shown = [*self._system, *(asked if self.most is None else asked[-self.most :])]
        said = self.talker.reply(shown, self.media, on_text, **settings)
        self.turns = [*asked, Turn("assistant", said)]
        return said


class Spoken:
    """Ids that come one after the other as text, of which only what is sure is told."""

    def __init__(
        self, spell: Callable[[list[int]], str], ends: Sequence[int], on_text: OnText | None
    ):
        self._spell, self._ends, self._on_text = spell, set(ends), on_text
        self._ids: list[int] = []
        self._told = ""
        self._over = False

    def __call__(self, tokens: Int[np.ndarray, "b n"]) -> None:
        for token in np.asarray(tokens)[0].tolist():
            self._over |= token in self._ends
            if self._over:
                return
            self._ids.append(token)
        # Half of a character is spelled as U+FFFD, and blanks may be cut.
        self._tell(self._spell(self._ids).rstrip("\ufffd").rstrip())

    def end(self, ids: Sequence[int]) -> str:
        """The whole text of all ids, of which the rest is told."""
        kept = []
        for one in ids:
            if one in self._ends:
                break
            kept.append(int(one))
        whole = self._spell(kept).strip()
        self._tell(whole)
        return whole

    def _tell(self, text: str) -> None:
        text = text.lstrip()
        if self._on_text is not None and len(text) > len(self._told):
            if text.startswith(self._told):
                self._on_text(text[len(self._told) :])
            self._told = text


def spoken(
    run: Callable[[OnTokens | None], Generated],
    spell: Callable[[list[int]], str],
    config: GenerationConfig,
    on_text: OnText | None,
) -> str:
    """The text of the first row that `run(on_tokens)` generates, told while it comes.

    With beams it is told at the end.
    """
    told = Spoken(spell, config.eos_token_id, on_text)
    streams = on_text is not None and config.num_beams == 1
    found = run(told if streams else None)
    return told.end(found.lists()[0][0])


def messages_of(turns: Sequence[Turn]) -> list[dict[str, str]]:
    """Turns as chat templates take them."""
    return [{"role": one.role, "content": one.text} for one in turns]


def templated(tokenizer: Any, messages: Sequence[Mapping[str, Any]], where: str) -> list[int]:
    """The ids of messages by the tokenizer's chat template, up to where the reply begins.

    Raises MissingExtra where jinja2 is not there, DataError for messages that the template refuses.
    """
    try:
        found = tokenizer.apply_chat_template(
            [dict(one) for one in messages], add_generation_prompt=True, tokenize=True
        )
    except ImportError as error:
        raise MissingExtra(
            114, "a chat template is read by jinja2", where=where, fix="pip install 'mmjax[chat]'"
        ) from error
    except Exception as error:  # templates raise errors of their own, and of jinja2
        raise DataError(
            570,
            f"the chat template refuses the turns: {str(error).splitlines()[0]}",
            where=where,
            fix="turns take turns; some templates take no system message",
        ) from error
    return [int(one) for one in found]
