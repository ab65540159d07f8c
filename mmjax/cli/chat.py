"""Talk with a run that writes texts, or with a language model out of a Hugging Face folder.

mmjax chat RUN
mmjax chat FOLDER --system "You are brief." --temperature 0.7
printf 'hello\\nhow are you?\\n' | mmjax chat RUN

Each line is a turn, and the reply is written while it comes. Other lines are commands:

/image PATH   a picture that the turns from now on are about
/audio PATH   the same with a sound; with --recogniser what it says is the turn
/reset        forget what was said and shown
/quit         leave; so does the end of the input
"""

from __future__ import annotations

import argparse
from typing import Any

_SETTINGS = ("max_new_tokens", "temperature", "top_p", "top_k", "num_beams")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="RUN", help="a run, or a Hugging Face folder or hub id")
    parser.add_argument("--system", default="", help="what a language model is told first")
    parser.add_argument("--turns", type=int, metavar="N", help="only the last N turns are shown")
    parser.add_argument("--modality", help="the run's text that holds the turns, if it has several")
    parser.add_argument("--between", default=" ", help="what a run reads between turns; a blank")
    parser.add_argument(
        "--retrieve", type=int, default=0, metavar="N", help="show a run N training rows as well"
    )
    parser.add_argument("--recogniser", metavar="MODEL", help="what turns /audio into words")
    parser.add_argument("--max-new-tokens", type=int, metavar="N", help="tokens of a reply at most")
    parser.add_argument("--temperature", type=float, help="draw replies at this temperature")
    parser.add_argument("--top-p", type=float, help="of the likeliest words with this share")
    parser.add_argument("--top-k", type=int, help="of so many likeliest words")
    parser.add_argument("--num-beams", type=int, metavar="N", help="search with so many beams")


def run(args: argparse.Namespace) -> int:
    import sys

    from mmjax.api.conversing import Conversation
    from mmjax.api.talkers import recogniser, talker
    from mmjax.core.errors import MMJaxError

    settings: dict[str, Any] = {
        name: getattr(args, name) for name in _SETTINGS if getattr(args, name) is not None
    }
    if settings.keys() & {"temperature", "top_p", "top_k"}:
        settings["do_sample"] = True
    one = talker(args.model, modality=args.modality, between=args.between, retrieve=args.retrieve)
    talk = Conversation(one, system=args.system, most=args.turns)
    hear = recogniser(args.recogniser) if args.recogniser else None
    asks, code = sys.stdin.isatty(), 0
    while True:
        line = _line(asks)
        if line is None or line == "/quit":
            return code
        try:
            _turn(talk, line, hear, settings, asks)
        except MMJaxError as error:
            print(error, file=sys.stderr)
            code = 0 if asks else error.exit_code


def _line(asks: bool) -> str | None:
    """The next line, None at the end of the input."""
    import sys

    if asks:
        print("you> ", end="", flush=True)
    line = sys.stdin.readline()
    return line.strip() if line else None


def _turn(talk: Any, line: str, hear: Any, settings: dict[str, Any], asks: bool) -> None:
    from mmjax.api.run import read_file
    from mmjax.core.errors import ConfigError, nearest
    from mmjax.writers.console import printable

    command, _, rest = line.partition(" ")
    rest = rest.strip()
    if not line:
        return
    if command == "/reset":
        talk.reset()
        return
    if command == "/audio" and hear is not None:
        line = hear(rest)
        print(f"heard> {printable(line)}", flush=True)
    elif command in ("/image", "/audio"):
        if not rest:
            raise ConfigError(105, f"{command} without a path", fix=f"{command} PATH")
        talk.show(command[1:], read_file(rest))
        return
    elif command.startswith("/"):
        known = ("/image", "/audio", "/reset", "/quit")
        raise ConfigError(105, f"no command '{command}'", fix=nearest(command, known))
    if asks:
        print("     ", end="")
    talk.say(line, lambda more: print(printable(more), end="", flush=True), **settings)
    print(flush=True)
