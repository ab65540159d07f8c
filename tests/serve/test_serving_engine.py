"""The engine against a model in NumPy, by a clock that the test moves."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from fake_program import BUCKETS, FakeProgram
from virtual_clock import Thread, run

from mmjax.core.errors import DataError, MMJaxError
from mmjax.export.program import Program, Result
from mmjax.serve.batcher import Batcher, Ticket
from mmjax.serve.config import EngineConfig
from mmjax.serve.engine import Engine
from mmjax.serve.errors import ServeError
from mmjax.serve.running import padding, run_batch
from mmjax.serve.watching import Watcher

PREPARE, RUN, PIECE = 0.001, 0.010, 0.005


class Heard(Watcher):
    def __init__(self):
        self.batches, self.sheds, self.errors = [], [], []

    def batch(self, rows, padded, tokens, padded_tokens):
        self.batches.append((rows, padded, tokens, padded_tokens))

    def shed(self, reason, rows):
        self.sheds.append(reason)

    def failed(self, code):
        self.errors.append(code)


def with_engine(body, **settings):
    """Runs `body(engine, program, loop)` on a started engine; what it heard."""
    heard = Heard()

    async def main(loop):
        program = FakeProgram()
        engine = Engine(
            lambda: program,
            EngineConfig(**settings),
            watcher=heard,
            model_thread=Thread(loop, lambda fn, args: PIECE if fn is next else RUN),
            prepare_threads=Thread(loop, lambda fn, args: PREPARE),
        )
        await engine.start()
        return await body(engine, program, loop)

    return run(main), heard


def answer(outcome):
    assert isinstance(outcome, Result), outcome
    return outcome.arrays["probabilities"]


def test_the_fake_is_a_program():
    assert isinstance(FakeProgram(), Program)


@pytest.mark.parametrize("seed", range(20))
def test_batches_are_of_one_bucket_in_time_and_lose_nothing(seed):
    """Any order of arrivals, leavings and calls: each item goes once, in order, in time."""
    rng = np.random.default_rng(seed)
    most, delay = int(rng.integers(1, 6)), float(rng.choice([0.0, 0.5, 2.0]))
    batcher = Batcher(max_batch=most, max_delay=delay)
    now, waiting, gone = 0.0, [], []
    for step in range(300):
        now += float(rng.exponential(0.3))
        kind = rng.choice(3, p=[0.5, 0.1, 0.4])
        if kind == 0:
            late = now + float(rng.choice([0.2, 50.0]))
            waiting.append(Ticket(step, int(rng.integers(3)), now, late))
            batcher.add(waiting[-1])
        elif kind == 1 and waiting:
            left = waiting.pop(int(rng.integers(len(waiting))))
            assert batcher.remove(left)
            assert not batcher.remove(left)
        else:
            before = [one for one in waiting if one.deadline > now]
            batch = batcher.take(now)
            due = [
                one
                for one in before
                if now >= one.arrived + delay
                or sum(other.bucket == one.bucket for other in before) >= most
            ]
            assert bool(batch) == bool(due)
            if batch:
                (bucket,) = {one.bucket for one in batch}
                same = [one for one in before if one.bucket == bucket]
                assert batch == same[:most]
                assert all(batch[0].arrived <= one.arrived for one in due)
            gone += batch
            waiting = [one for one in before if one not in batch]
        assert len(batcher) >= len([one for one in waiting if one.deadline > now])
    assert len({one.item for one in gone}) == len(gone) > 20


def test_a_burst_goes_together_and_waits_for_no_more_than_that():
    async def body(engine, program, loop):
        await asyncio.gather(*(engine.predict([{"text": "a"}]) for _ in range(5)))
        return [len(one) for one in program.batches]

    assert with_engine(body, max_delay_ms=2.0)[0] == [5]
    batcher = Batcher(max_batch=4, max_delay=1.0)
    batcher.add(Ticket("a", 0, 0.0, 100.0))
    assert not batcher.take(9.0, patience=10.0)
    assert len(batcher.take(10.0, patience=10.0)) == 1


def test_alone_or_with_others_an_item_gets_the_same():
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("abcxyz"), rng.integers(1, 30))) for _ in range(60)]
    texts[10:12] = ["boom", "nan"]

    async def body(engine, program, loop):
        async def later(text, wait):
            await asyncio.sleep(wait)
            return (await engine.predict([{"text": text}]))[0]

        waits = rng.uniform(0, 0.1, len(texts))
        found = await asyncio.gather(*map(later, texts, waits))
        return found, list(program.batches)

    (found, batches), heard = with_engine(body)
    assert max(map(len, batches)) > 2
    assert all(len({next(b for b in BUCKETS if b >= len(t)) for t in one}) == 1 for one in batches)
    for text, one in zip(texts, found, strict=True):
        if text in ("boom", "nan"):
            assert isinstance(one, ServeError)
            assert one.code == {"boom": 814, "nan": 815}[text]
            continue
        fake = FakeProgram()
        alone = fake.run([fake.prepare({"text": text})])[0]
        np.testing.assert_allclose(answer(one), answer(alone), rtol=1e-6)
    assert sorted(heard.errors) == [814, 815]
    assert all(rows <= padded and t <= p for rows, padded, t, p in heard.batches)


@pytest.mark.parametrize(("texts", "waited"), [(["a"], 0.0), (["a", "b" * BUCKETS[-1]], 0.003)])
def test_an_item_waits_for_the_delay_unless_it_has_the_server_alone(texts, waited):
    async def body(engine, program, loop):
        began = loop.now
        asked = [asyncio.ensure_future(engine.predict([{"text": text}])) for text in texts]
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        found = loop.now - began
        await asyncio.gather(*asked)
        return found

    took, _ = with_engine(body, max_delay_ms=3.0)
    assert took == pytest.approx(PREPARE + waited + RUN, abs=1e-6)


def test_what_is_more_than_the_queue_is_refused_at_once():
    async def body(engine, program, loop):
        assert await engine.predict([{"text": "warm"}])
        began = loop.now
        asked = [asyncio.ensure_future(engine.predict([{"text": "a"}])) for _ in range(30)]
        done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_EXCEPTION)
        at = loop.now - began
        refused = [one.exception() for one in done]
        rest = await asyncio.gather(*asked, return_exceptions=True)
        with pytest.raises(ServeError, match="11 items at once"):
            await engine.predict([{}] * 11)
        return at, refused, rest, engine.waiting, engine.active

    (at, refused, rest, waiting, active), heard = with_engine(body, max_queue=10)
    assert at < 1e-9
    assert {error.code for error in refused} == {811}
    assert min(error.retry_after for error in refused) >= 1
    assert sum(isinstance(one, list) for one in rest) == 10
    assert heard.sheds.count("queue") == 20
    assert waiting == active == 0


def test_past_its_deadline_an_item_is_dropped_before_it_is_computed():
    async def body(engine, program, loop):
        first = asyncio.ensure_future(engine.predict([{"text": "first"}]))
        await asyncio.sleep(0.004)
        late = await engine.predict([{"text": "late"}], deadline_s=0.005)
        return late, await first, program.batches, engine.waiting

    (late, first, batches, waiting), heard = with_engine(body)
    assert late[0].code == 813
    answer(first[0])
    assert batches == [["first"]]
    assert (waiting, heard.sheds) == (0, ["deadline"])


def test_who_goes_is_taken_out():
    async def body(engine, program, loop):
        first = asyncio.ensure_future(engine.predict([{"text": "first"}]))
        await asyncio.sleep(0.004)
        gone = asyncio.ensure_future(engine.predict([{"text": "gone"}]))
        await asyncio.sleep(0.002)
        gone.cancel()
        await asyncio.wait([first, gone])
        await asyncio.sleep(1)
        return program.batches, engine.waiting, engine.active

    (batches, *left), heard = with_engine(body)
    assert batches == [["first"]]
    assert left == [0, 0]
    assert heard.sheds == ["gone"]


def test_a_bad_item_fails_alone():
    async def body(engine, program, loop):
        return await engine.predict([{"text": "a"}, {"image": b"no picture"}, {"text": "b"}])

    (first, bad, last), heard = with_engine(body)
    assert isinstance(bad, DataError)
    assert bad.code == 403
    answer(first)
    answer(last)
    assert heard.errors == [403]


def test_a_bad_item_costs_few_runs():
    fake = FakeProgram()
    items = [fake.prepare({"text": text}) for text in ["a", "b", "c", "boom", "d", "e", "f", "g"]]
    found = run_batch(fake, items)
    assert [isinstance(one, ServeError) for one in found] == [i == 3 for i in range(8)]
    assert len(fake.batches) == 7
    assert padding(fake, items[:3]) == (3, 4, 3, 32)


def test_failures_in_a_row_are_not_ready_until_one_succeeds():
    async def body(engine, program, loop):
        states = [engine.state]
        for text in ("boom", "fine", "boom", "boom", "boom", "fine"):
            await engine.predict([{"text": text}])
            states.append(engine.state)
        return states

    states, _ = with_engine(body, failures=3)
    assert states == ["ready"] * 5 + ["failing", "ready"]


def test_not_ready_before_everything_is_compiled():
    async def main(loop):
        engine = Engine(
            FakeProgram, model_thread=Thread(loop, lambda fn, args: 1.0), prepare_threads=None
        )
        starting = asyncio.ensure_future(engine.start())
        await asyncio.sleep(1.5)
        early = engine.refusal()
        await starting
        seen = early.code, engine.ready, engine.refusal(), engine.program.compiles
        engine.close()
        return seen

    assert run(main) == (812, True, None, 12)


def test_draining_finishes_what_was_accepted():
    async def body(engine, program, loop):
        asked = [asyncio.ensure_future(engine.predict([{"text": "a"}])) for _ in range(20)]
        await asyncio.sleep(0)
        done = await engine.drain(5.0)
        with pytest.raises(ServeError) as refused:
            await engine.predict([{"text": "late"}])
        return done, await asyncio.gather(*asked), refused.value.code

    (done, found, code), _ = with_engine(body)
    assert done
    assert [type(one[0]) for one in found] == [Result] * 20
    assert code == 812

    async def hurried(engine, program, loop):
        asked = asyncio.ensure_future(engine.predict([{"text": "a"}]))
        await asyncio.sleep(0)
        return await engine.drain(0.002), await asked

    (done, _), _ = with_engine(hurried)
    assert not done


def test_texts_are_written_piece_by_piece_between_batches():
    async def body(engine, program, loop):
        async def written(text):
            return [(loop.now, piece) async for piece in engine.stream({"text": text})]

        async def asked():
            await asyncio.sleep(0.012)
            await engine.predict([{"text": "a"}])
            return loop.now

        found = await asyncio.gather(written("one two three"), written("x y z"), asked())
        with pytest.raises(ServeError) as raised:
            await written("one boom")
        return *found, raised.value.code, engine.active

    (first, second, when, code, active), _ = with_engine(body)
    assert [piece for _, piece in first] == ["one ", "two ", "three "]
    assert [piece for _, piece in second] == ["x ", "y ", "z "]
    assert first[0][0] < when < first[-1][0]
    assert (code, active) == (814, 0)


def test_too_many_streams_are_refused():
    async def body(engine, program, loop):
        first = engine.stream({"text": "a b"})
        await anext(first)
        with pytest.raises(ServeError) as refused:
            await anext(engine.stream({"text": "c"}))
        await first.aclose()
        again = [piece async for piece in engine.stream({"text": "c"})]
        return refused.value.code, again, engine.active

    assert with_engine(body, max_streams=1)[0] == (811, ["c "], 0)


def test_a_batch_that_never_ends_is_not_live():
    async def body(engine, program, loop):
        asked = asyncio.ensure_future(engine.predict([{"text": "a"}]))
        await asyncio.sleep(0.005)
        loop.now += 2.0
        stuck = engine.live
        await asked
        return stuck, engine.live

    assert with_engine(body, stuck_s=1.0)[0] == (False, True)


@pytest.mark.parametrize("bad", [{"max_queue": 0}, {"max_delay_ms": -1.0}, {"max_batch": 0}])
def test_settings_are_checked(bad):
    with pytest.raises(MMJaxError, match="MMX-187"):
        EngineConfig(**bad)
