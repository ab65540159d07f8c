"""`mmjax serve`: its options, and what it refuses before anything starts."""

from __future__ import annotations

import argparse

import pytest

from mmjax.cli import main, serve
from mmjax.core.errors import CheckpointError
from mmjax.serve.config import EngineConfig, Limits, ServeConfig

TOKENS = ("a-token-of-twenty-ch", "another-of-at-least-16")


def parsed(*arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument("--verbose", action="store_true")
    serve.configure(parser)
    return parser.parse_args(arguments)


def test_options_are_settings(tmp_path):
    (tmp_path / "tokens").write_text("\n".join(TOKENS) + "\n\n")
    args = parsed(
        *("out", "--host", "0.0.0.0", "--port", "9000", "--max-batch", "16", "--max-delay-ms", "1"),
        *("--max-queue", "32", "--deadline-s", "3", "--body-s", "4", "--grace-s", "9"),
        *("--token-file", str(tmp_path / "tokens"), "--image-host", "a.example", "--no-page"),
        *("--image-host", "b.example", "--host-name", "fruit.example", "--open-metrics"),
    )
    config = serve._config(args)
    assert config == ServeConfig(
        host="0.0.0.0",
        port=9000,
        tokens=TOKENS,
        hosts=("fruit.example",),
        open_metrics=True,
        page=False,
        grace_s=9.0,
        engine=EngineConfig(max_batch=16, max_delay_ms=1.0, max_queue=32, deadline_s=3.0),
        limits=Limits(body_s=4.0, image_hosts=("a.example", "b.example")),
    )
    again = parsed(*serve._arguments(args), "--port", "9000")
    assert serve._config(again) == config


def test_what_is_not_given_is_the_default():
    assert serve._config(parsed("out")) == ServeConfig()
    assert serve._arguments(parsed("out")) == ["out"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--host", "0.0.0.0"), 188, "there is no token"),
        (("--port", "70000"), 187, "port 70000"),
        (("--max-queue", "0"), 187, "max_queue=0"),
        (("--token-file", "nowhere"), 310, "nowhere"),
    ],
)
def test_bad_options_are_refused_in_one_line(arguments, code, said, capsys):
    assert main(["serve", "out", *arguments]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"MMX-{code}" in told
    assert said in told


def test_a_folder_that_is_not_there_is_refused(tmp_path):

    with pytest.raises(CheckpointError):
        serve._program(str(tmp_path / "nothing"))
