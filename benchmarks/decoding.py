"""New tokens a second: with the cache of keys and values, and without one.

python -m benchmarks.decoding
python -m benchmarks.decoding --sizes b1-n8-t128-d512-l6-v8192 --rounds 3

Sizes: b rows, n tokens of each prompt, t new ones, width d (heads of 64), l layers, v words. The
decoder is a language model of random weights. Without the cache a compiled program makes the logits
of the whole text for each new token, padded to the same buckets of lengths. Both choose greedily,
and must choose the same tokens. Programs are compiled before; how many there are is counted over
prompts and numbers of new tokens within a bucket.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import harness, timing
from benchmarks.machine import about
from mmjax.core.files import atomic, write_json
from mmjax.encoders.causal_lm import CausalLM
from mmjax.generate import GenerationConfig, LinenDecoder, engine, generate
from mmjax.parallel.sharding import unbox
from mmjax.writers.console import say

LETTERS = "b n t d l v"
SIZES = ("b1-n8-t128-d512-l6-v8192", "b8-n8-t128-d512-l6-v8192")


def decoder(size: str) -> tuple[CausalLM, Any, np.ndarray]:
    """The module, its variables, and prompts."""
    b, n, t, d, layers, v = harness.dimensions(size, LETTERS)
    module = CausalLM(
        vocab_size=v,
        max_length=n + t,
        width=d,
        depth=layers,
        heads=d // 64,
        mlp_dim=4 * d,
        scan=False,
    )
    prompts = np.random.default_rng(0).integers(0, v, (b, n)).astype(np.int32)
    shapes = unbox(jax.eval_shape(lambda: module.init(jax.random.key(0), prompts, train=False)))
    state = np.random.RandomState(0)
    variables = jax.tree.map(
        lambda leaf: jnp.asarray(0.05 * state.standard_normal(size=leaf.shape), leaf.dtype), shapes
    )
    return module, {"params": variables["params"]}, prompts


def without_cache(module: CausalLM, variables: Any, prompts: np.ndarray, new: int) -> Callable:
    """A call that returns the new tokens, each of a forward pass over all before it."""

    @functools.partial(jax.jit, donate_argnums=1)
    def step(variables: Any, tokens: Any, count: Any) -> tuple[Any, Any]:
        logits = module.apply(variables, tokens, train=False).logits
        last = jax.lax.dynamic_index_in_dim(logits, count - 1, axis=1, keepdims=False)
        token = jnp.argmax(last, axis=-1).astype(jnp.int32)
        return jax.lax.dynamic_update_index_in_dim(tokens, token, count, axis=1), token

    def call() -> np.ndarray:
        length = prompts.shape[1]
        tokens, found = jnp.asarray(prompts), []
        for count in range(length, length + new):
            size = engine.bucket(count + 1, length + new)
            tokens = jnp.pad(tokens, ((0, 0), (0, size - tokens.shape[1])))
            tokens, token = step(variables, tokens, count)
            found.append(token)
        return np.stack([np.asarray(one) for one in found], axis=1)

    return call


def programs(run: Callable[..., Any], prompts: np.ndarray, new: int) -> dict[str, Any]:
    """How many programs there are after the first call, and after others in the same bucket."""
    before = engine.begin._cache_size(), engine.proceed._cache_size()
    tried = 0
    for length in range(prompts.shape[1] // 2 + 1, prompts.shape[1] + 1):
        for fewer in (0, 7, 31):
            mask = np.arange(prompts.shape[1]) < length
            run(new=new - fewer, mask=np.broadcast_to(mask, prompts.shape), eos_token_id=0)
            tried += 1
    after = engine.begin._cache_size(), engine.proceed._cache_size()
    return {"calls": tried, "first_call": sum(before), "all_calls": sum(after)}


def measure(size: str, rounds: int) -> dict[str, Any]:
    b, _, t, *_ = harness.dimensions(size, LETTERS)
    module, variables, prompts = decoder(size)

    def cached(new: int = t, mask: Any = None, **settings: Any) -> np.ndarray:
        config = GenerationConfig(max_new_tokens=new, **settings)
        return generate(LinenDecoder(module), variables, prompts, config, mask=mask).tokens[:, 0]

    plain = without_cache(module, variables, prompts, t)
    names = ("cache", "no cache")
    calls = (cached, plain)
    ours, theirs = (call() for call in calls)
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        order = list(zip(names, calls, strict=True))
        for name, call in order if turn % 2 == 0 else reversed(order):
            start = timing.clock()
            call()
            times[name].append(timing.clock() - start)
    ratios = [b / a for a, b in zip(*times.values(), strict=True)]
    return {
        "size": size,
        "same_tokens": float((ours == theirs).mean()),
        "seconds": times,
        "tokens_per_second": {name: b * t / float(np.median(times[name])) for name in names},
        "faster": {"median": float(np.median(ratios)), "lowest": min(ratios)},
    }


def to_markdown(result: dict[str, Any]) -> str:
    on_cpu = "cpu" in result["device"]
    lines = [
        "# New tokens a second, with and without the cache",
        "",
        f"{result['date']}, {result['cpu'] if on_cpu else result['device']}, {result['clock']}; "
        f"jax {result['versions']['jax']}. Written by `python -m benchmarks.decoding`.",
        "",
        "| size | with the cache | without | faster | same tokens |",
        "| --- | --- | --- | --- | --- |",
    ]
    for one in result["measured"]:
        rates = one["tokens_per_second"]
        lines.append(
            f"| {one['size']} | {rates['cache']:.1f} | {rates['no cache']:.1f} "
            f"| {one['faster']['median']:.1f} | {100 * one['same_tokens']:.1f} % |"
        )
    if counted := result.get("programs"):
        lines += [
            "",
            f"{counted['first_call']} programs after the first call, {counted['all_calls']} after "
            f"{counted['calls']} more with other prompts and numbers of new tokens in the bucket.",
        ]
    return "\n".join(lines) + "\n"


def count_programs() -> dict[str, Any]:
    """On a decoder of one small layer: the number does not depend on the size."""
    module, variables, prompts = decoder("b2-n8-t64-d64-l1-v128")

    def run(new: int, mask: Any, **settings: Any) -> None:
        config = GenerationConfig(max_new_tokens=new, **settings)
        generate(LinenDecoder(module), variables, prompts, config, mask=mask)

    run(64, np.ones(prompts.shape, bool), eos_token_id=0)
    return programs(run, prompts, 64)


def main(arguments: Sequence[str] | None = None) -> None:
    parser: argparse.ArgumentParser = harness.parser("decoding", __doc__, sizes=SIZES, rounds=3)
    args = parser.parse_args(arguments)
    platform = jax.default_backend()
    stem = "decoding" if platform == "cpu" else f"decoding_{platform}"
    args.out.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {
        **about(),
        "clock": "processor seconds, one core" if platform == "cpu" else "wall",
        "rounds": args.rounds,
        "programs": count_programs(),
        "measured": [],
    }
    for size in args.sizes:
        found = measure(size, args.rounds)
        result["measured"].append(found)
        say(f"{size}: {found['tokens_per_second']}, {found['faster']['median']:.1f} times faster")
        write_json(args.out / f"{stem}.json", result)
    with atomic(args.out / f"{stem}.md") as file:
        file.write(to_markdown(result))


if __name__ == "__main__":
    harness.restart_on_one_core()
    main()
