"""Steps that are compiled ahead of time: for devices that are there, and for TPUs that are not."""

import contextlib
import dataclasses
import importlib.util
import io
import json
import types

import jax
import pytest
import tiny_run
from tiny_pairs import pairs

import mmjax
from mmjax.api import compiling
from mmjax.api.candidates import Guess, candidates, remat_settings
from mmjax.cli import main
from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError
from mmjax.parallel.mesh import MeshConfig
from mmjax.parallel.topology import SHAPES, Topology
from mmjax.report import compiled as shown
from mmjax.train.ahead import lacking


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What `mmjax compile` of one config wrote, said and found: one program is compiled."""
    folder, found = tmp_path_factory.mktemp("compiled"), []
    path = tiny_run.write_config(folder / "config.py", pairs())
    page, figures, said = folder / "page.html", folder / "figures.json", io.StringIO()
    command = ["compile", str(path), "mesh.fsdp=4", "mesh.data=2", "--topology", "cpu:8"]

    def spied(*args, **options):
        found.append(compile_(*args, **options))
        return found[-1]

    compile_ = compiling.compile
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.setattr(compiling, "compile", spied)
        code = main([*command, "--html", str(page), "--json", str(figures)])
    assert code == 0
    return found[0], said.getvalue(), page.read_text("utf-8"), json.loads(figures.read_text())


@pytest.fixture(scope="module")
def step(told):
    return told[0]


def test_memory_by_kind_adds_up(step):
    state = {kind: step.memory[kind] for kind in ("parameters", "optimiser")}
    # Two moments of every parameter, and counters.
    assert state["optimiser"] == pytest.approx(2 * state["parameters"], abs=16)
    assert sum(step.memory.values()) == pytest.approx(step.needed, abs=64)
    assert step.memory["batch"] == (16 // 8) * (8 * 8 * 3 * 4 + 4 * 4 + 4 + 2 + 1 + 4)
    assert step.fits
    assert step.limit > step.needed
    assert not step.advice
    assert step.mesh == {"data": 2, "fsdp": 4, "tensor": 1}


def test_flops_are_those_of_the_layers(step):
    """Forward and backward are three times the forward's: 12 d^2 a token and layer in projections
    and MLP (here 4 d^2 + 2 d m), and the attention; scanned layers count as often as they run."""
    d, m, rows = 8, 16, 16
    layer = lambda n: 2 * n * (4 * d * d + 2 * d * m) + 4 * n * n * d  # noqa: E731
    towers = 2 * rows * (layer(4) + layer(5))
    patches = 2 * rows * 4 * (4 * 4 * 3) * d
    assert step.flops == pytest.approx(3 * towers + 2 * patches, rel=0.15)
    assert step.flops == step.model_flops


def test_parameters_are_gathered_layer_by_layer(step):
    """FSDP gathers the layers' parameters forward and backward, and never more than three times."""
    gathered = sum(one.bytes for one in step.collectives if one.kind == "all-gather")
    whole = 4 * step.memory["parameters"]
    assert whole <= gathered <= 3 * whole


def test_no_row_is_read_and_what_is_assumed_is_said(step):
    assert step.assumed[0] == "1,000,000 training rows"
    assert any("40 ids" in one for one in step.assumed)


def test_tables_and_page(step):
    values = json.loads(json.dumps(step.to_json()))
    titles = [title for title, _, _ in shown.tables([values])]
    assert titles[1:] == ["a step", "collectives", "largest arrays"]
    several = shown.page("tiny", [values, values])
    assert "The fastest that fit first" in several.replace("Compiled, the", "The")
    for away in ("<script src", "<link", "@import"):
        assert away not in several
    assert shown.headline(values).startswith("cpu:8, as it is: fits, ")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("v5e:3x3", "v5e:"),
        ("v5litepod:4x4", "v5e:4x4"),
        ("v5p:4x4", "v5p:"),
        ("cpu:0", "cpu:8"),
        ("h100:8", "valid: "),
        ("v5e:4x4*0", "v5e:4x4"),
    ],
)
def test_unknown_topologies_are_refused_with_the_nearest(name, nearest):
    with pytest.raises(ConfigError) as error:
        Topology.parse(name)
    assert f"no topology '{name}'" in str(error.value)
    assert nearest in error.value.fix


def test_known_topologies():
    assert Topology.parse("v5p:2x2x4").devices == 16
    assert Topology.parse("v6e:4x4*2").devices == 32
    assert Topology.parse("cpu:8").chip is None
    assert all(Topology.parse(f"{kind}:{one}").chip for kind in SHAPES for one in SHAPES[kind])


def test_a_mesh_or_batch_that_does_not_divide_is_refused_with_what_does():
    with pytest.raises(ConfigError, match=r"multiple of 3 devices.*mesh\.fsdp=4"):
        mmjax.compile(pairs(mesh=MeshConfig(-1, 3, 1)), topology="cpu:8")
    odd = dataclasses.replace(pairs(), data=dataclasses.replace(pairs().data, batch_size=12))
    with pytest.raises(ConfigError, match="nearest valid: 8 or 16"):
        mmjax.compile(odd, topology="cpu:8")
    with pytest.raises(ConfigError, match="--xla_force_host_platform_device_count=64"):
        mmjax.compile(dataclasses.replace(odd), topology="cpu:64")


def test_stacks_that_can_compute_again_are_found_wherever_they_are():
    config = config_lib.check(config_lib.load("configs/coca_base.py"))
    assert remat_settings(config) == {
        "model.encoders.text.remat": "none",
        "model.encoders.image.encode_with.remat": "none",
        "objectives.captioning.remat": "none",
    }
    fused = config_lib.check(config_lib.load("configs/albef_like.py"))
    assert "model.fusion.remat" in remat_settings(fused)


def test_candidates_split_the_batch_evenly():
    ways = list(candidates(pairs(), 8))
    assert ways[0].settings == ()
    assert ways[0].sizes == (8, 1, 1)
    assert len({one.settings for one in ways}) == len(ways)
    for one in ways:
        assert one.rows >= 1
        assert one.rows == int(one.rows)
        assert one.config.train.gradient_accumulation_steps == one.micro
    assert {one.remat for one in ways} == {"own", "full"}


def test_guesses_follow_what_was_compiled():
    own = next(iter(candidates(pairs(), 8)))
    ways = list(candidates(pairs(), 8))
    guess = Guess(1000, 800.0)
    guess.learn(own, 600.0)
    assert guess.needs(own) == 1400.0
    again = next(one for one in ways if one.remat == "full" and one.sizes == own.sizes)
    assert guess.needs(again) == 800 + 600 / 6
    split = next(one for one in ways if one.sizes == (4, 2, 1) and one.remat == "own")
    assert guess.needs(split) == 400 + 600
    assert not guess.fits(own)
    assert guess.fits(again)
    assert guess.takes(own) < guess.takes(again)


def test_advice_is_what_is_guessed_to_fit(step, monkeypatch):
    """The step is told a limit above its state, and below what it takes."""
    config = pairs(mesh=MeshConfig(2, 4, 1))
    state = step.memory["parameters"] + step.memory["optimiser"]
    rows = next(iter(candidates(config, 8))).rows
    limit = state + (step.needed - state) // 2
    trainer = types.SimpleNamespace(mesh=types.SimpleNamespace(shape=step.mesh))
    ahead = types.SimpleNamespace(needed=step.needed, trainer=trainer)
    memory = {"parameters": step.memory["parameters"], "optimiser": step.memory["optimiser"]}
    found = compiling._advice(config, ahead, memory, limit, Topology.parse("cpu:8"))
    assert rows == 2
    again = ("model.encoders.text.remat=full", "model.encoders.image.remat=full")
    assert found[0].settings == again
    assert found[1].settings == ("train.gradient_accumulation_steps=2",)
    none = compiling._advice(config, ahead, memory, state // 8, Topology.parse("v5e:2x4"))
    assert [one.settings for one in none] == [(), ("model.dtype=bfloat16",)]


def test_what_a_compiler_lacks_is_read():
    told = (
        "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO "
        "temporaries (419.14G) exceeds available HBM (15.75G)."
    )
    assert lacking(told) == (int(419.14 * 2**30), int(15.75 * 2**30))
    older = "RESOURCE_EXHAUSTED: ... Used 27.88G of 15.75G hbm. Exceeded hbm capacity by 12.13G."
    assert lacking(older) == (int(27.88 * 2**30), int(15.75 * 2**30))
    assert lacking("RESOURCE_EXHAUSTED: scoped vmem") is None
    assert lacking("INVALID_ARGUMENT") is None


@pytest.mark.slow
def test_a_step_without_room_gets_advice_that_fits_and_the_search_finds_it(monkeypatch):
    """The limit is put between what the step takes and what it takes in micro-batches."""
    config = config_lib.override(pairs(), ["data.batch_size=512"])
    parts = config_lib.override(config, ["train.gradient_accumulation_steps=16"])
    whole, less = (mmjax.compile(one, topology="cpu:8").needed for one in (config, parts))
    limit = (whole + less) // 2
    monkeypatch.setattr(compiling, "device_memory", lambda: limit)
    found = compiling.search(config, topology="cpu:8", most=3)
    assert found[0].fits
    assert not found[-1].fits
    assert found[-1].settings == ()
    assert found[0].needed <= limit < found[-1].needed
    assert found[-1].buffers
    advice = [one for one in found[-1].advice if one.settings]
    assert advice
    for one in advice:
        config_lib.override(config, one.settings)


def test_the_command(told, capsys):
    _, said, page, figures = told
    assert "cpu:8, as it is: fits" in said
    assert "all-gather" in said
    assert "Memory by kind" in page
    assert "<svg" in page
    (values,) = figures["steps"]
    assert values["mesh"] == {"data": 2, "fsdp": 4, "tensor": 1}
    assert main(["compile", "configs/quickstart.py", "--topology", "v5e:44"]) == 2
    assert "did you mean 'v5e:4x4'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("libtpu"), reason="needs mmjax[tpu-aot]")
def test_for_a_tpu_that_is_not_there():
    found = mmjax.compile(pairs(mesh=MeshConfig(1, 4, 1)), topology="v5e:2x2")
    assert found.fits
    assert found.roofline is not None
    assert 0 < found.roofline.mfu < 1
    assert found.roofline.step >= found.roofline.overlapped
    assert {one.kind for one in found.collectives} >= {"all-gather"}
    assert jax.default_backend() == "cpu"


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("libtpu"), reason="needs mmjax[tpu-aot]")
def test_activations_may_wait_in_the_hosts_memory():
    """What the branches of each layer add: both where norms come after sums, as in the text tower;
    where they come before, the backward pass needs the attention's alone."""
    again = [f"model.encoders.{name}.remat=offload" for name in ("text", "image")]
    config = config_lib.override(pairs(), [*again, "data.batch_size=512"])
    found = mmjax.compile(config, topology="v5e:2x2")
    layers, rows, width = 2, 512 // 4, 8
    assert found.host == layers * rows * (2 * 4 + 1 * 5) * width * 4
    assert "in the host's memory" in str(shown.tables([found.to_json()]))
