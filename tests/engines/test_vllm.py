"""The vLLM engine against the transformers engine, on the scenes models: same draws, same texts."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import torch
from safetensors.torch import load_file, save_file

from prefgen import sources
from prefgen.driver import drive
from prefgen.engines.base import Engine, EngineConfig
from prefgen.engines.fake import FakeEngine
from prefgen.engines.hf import loading
from prefgen.engines.hf.engine import TransformersEngine
from prefgen.engines.vllm.engine import TESTED, VllmEngine
from prefgen.errors import EnvironmentFault, RowError, UsageError
from prefgen.images import load_images
from prefgen.methods.bdhs import BDHS
from prefgen.records import Outcome, Pair, Sample
from prefgen.requests import Completion, Embed, Generate, Sampling
from prefgen.sources import SourceOptions
from prefgen.visibility import View
from tests.cli.runs import ENVIRONMENT
from tests.engines import test_architectures, zoo
from tests.engines.small_models import make

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("default")]  # vLLM and what it imports warn a lot
SCENES = Path(__file__).parents[2] / "examples" / "scenes"
INPUT = str(SCENES / "llava_instruct.json")
ARGUMENTS = ("enforce_eager=true", "gpu_memory_utilization=0.1")


@pytest.fixture(scope="module", autouse=True)
def _little_memory() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        yield


def load(model: str, *arguments: str, batch_size: int = 64) -> Any:
    return VllmEngine.load(
        EngineConfig(str(SCENES / model), "vllm", engine_args=(*ARGUMENTS, *arguments), batch_size=batch_size)
    )


@pytest.fixture(scope="module")
def engine() -> Any:
    return load("model")


@pytest.fixture(scope="module")
def oracle() -> TransformersEngine:
    return transformers_engine("model")


def transformers_engine(model: str) -> TransformersEngine:
    config = EngineConfig(str(SCENES / model))
    return TransformersEngine(loading.load(config), config)


def samples(limit: int) -> list[Sample]:
    options = SourceOptions(limit=limit)
    rows = (row for row in sources.read(INPUT, options) if isinstance(row, Sample))
    loaded = (load_images(row, options.root(INPUT), None) for row in rows)
    return [row for row in loaded if isinstance(row, Sample)]


def outcomes(engine: Engine, method: BDHS, limit: int) -> list[Outcome]:
    found = dict(drive(samples(limit), method, {Embed: FakeEngine(), Generate: engine}))
    return [found[index] for index in range(len(found))]


METHODS = {
    "greedy": BDHS(temperature=0.0),
    "sampled": BDHS(similarity_threshold=0.8),
    "nucleus": BDHS(rho=0.5, top_p=0.8, temperature=1.3),
    "noise": BDHS(variant="noise"),
    "both": BDHS(variant="both", rho=0.9, noise_space="pixel-wrap"),
    "unguided": BDHS(guidance=False, iterations=1),
    "paper": BDHS(fidelity="paper"),
}


@pytest.mark.parametrize("name", METHODS)
def test_every_pair_is_the_transformers_engines(engine: Any, oracle: TransformersEngine, name: str) -> None:
    limit = 200 if name in ("greedy", "sampled") else 40
    ours, theirs = (outcomes(one, METHODS[name], limit) for one in (engine, oracle))
    assert [one for one, other in zip(ours, theirs, strict=True) if one != other] == []
    assert len(ours) == limit
    assert len({pair.rejected for pair in ours if isinstance(pair, Pair)}) > limit / 3


def test_the_sentences_of_a_sample_share_their_beginning(engine: Any) -> None:
    engine.prompt_tokens = engine.cached_tokens = 0
    outcomes(engine, BDHS(variant="noise", noise_steps=300, seed=77, iterations=1), 20)
    assert 0.2 < engine.cached_tokens / engine.prompt_tokens < 0.9


def request(sample: Sample, n: int, tokens: int = 12, prefix: str = "", view: View | None = None) -> Generate:
    sampling = Sampling(1.0, 1.0, tokens)
    shown = view or View(rho=0.5, mask_seed=n)
    return Generate(sample.prompt, sample.loaded_images, shown, prefix, 0, "end", "en", sampling, n)


def test_new_requests_enter_while_others_run() -> None:
    small, (first,) = load("model", batch_size=4), samples(1)
    lengths = [64, 2, 2, 2]
    for ticket, tokens in enumerate(lengths):
        small.submit(ticket, request(first, ticket, tokens))
    alone = small.collect()
    assert 0 not in dict(alone)  # what is done comes back; nobody waits for the longest
    small.submit(4, request(first, 4, 3))
    seen = []
    while got := small.collect():
        seen += [ticket for ticket, _ in got]
    assert seen[-1] == 0
    assert 4 in seen


def test_a_prompt_that_does_not_fit_costs_its_row_alone() -> None:
    short, (first,) = load("model", "max_model_len=256"), samples(1)
    short.submit(0, request(first, 0, prefix="There is a red star. " * 40))
    short.submit(1, request(first, 1))
    replies = dict(short.collect())
    replies |= dict(short.collect())
    assert isinstance(replies[0], RowError)
    assert replies[0].reason == "TEXT_TOO_LONG"
    assert isinstance(replies[1], Completion)


def test_llava_next_too() -> None:
    tiled, theirs = load("model-anyres"), transformers_engine("model-anyres")
    for method in (BDHS(temperature=0.0, rho=0.9), BDHS(variant="noise", noise_steps=300, iterations=2)):
        assert outcomes(tiled, method, 40) == outcomes(theirs, method, 40)


_IN_CI = ("internvl", "mistral3")  # a start takes up to a minute; the others with `-m "vllm and slow"`


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in _IN_CI else pytest.mark.slow)
        for name in TESTED
        if name not in ("llava", "llava_next")  # those of the scenes
    ],
)
def test_a_small_model_of_every_type_says_what_it_says_in_transformers(name: str, tmp_path: Path) -> None:
    folder = str(zoo.save(make(name), tmp_path))
    if name in _TOWER_BELOW:
        rename_tower(tmp_path / "model.safetensors")
    config = EngineConfig(folder, device="cpu", dtype="float32")
    theirs = TransformersEngine(loading.load(config), config)
    ours = VllmEngine.load(
        EngineConfig(folder, "vllm", engine_args=(*ARGUMENTS, "max_model_len=512"), batch_size=16, dtype="float32")
    )
    wanted = [*test_architectures.wanted(), *test_architectures.wanted(1.0)[:4]]
    texts = []
    for engine in (ours, theirs):
        for ticket, request_ in enumerate(wanted):
            engine.submit(ticket, request_)
        replies: dict[int, Any] = {}
        while got := engine.collect():
            replies |= dict(got)
        texts.append([replies[ticket].text for ticket in range(len(wanted))])
    assert texts[0] == texts[1]
    assert len(set(texts[1])) > 6


_TOWER_BELOW = (
    "llava_onevision",
    "llava_next_video",
)  # whose published weights are named so, and `save_pretrained` does not restore it


def rename_tower(file: Path) -> None:
    """Name the weights of the vision tower as published checkpoints do."""
    weights = load_file(file)
    prefix = next(name for name in weights if "vision_tower." in name).partition("vision_tower.")[0] + "vision_tower."
    renamed = {name.replace(prefix, f"{prefix}vision_model."): weight for name, weight in weights.items()}
    save_file(renamed, file, {"format": "pt"})


def test_an_adapter_named_by_vllms_own_option_is_used(tmp_path: Path) -> None:
    adapted = transformers_engine("model")
    plain = outcomes(adapted, BDHS(temperature=0.0), 6)
    write_adapter(tmp_path, adapted)
    own = ("enable_lora=true", "max_lora_rank=8", f"default_mm_loras={json.dumps({'image': str(tmp_path)})}")
    # On CPUs vLLM 0.32 multiplies adapters for one request at a time only.
    engine = load("model", *own, "enable_prefix_caching=false", "max_num_seqs=1")
    found = outcomes(engine, BDHS(temperature=0.0), 6)
    assert found == outcomes(adapted, BDHS(temperature=0.0), 6)
    assert found != plain


def write_adapter(folder: Path, engine: TransformersEngine) -> None:
    """Write a random adapter in PEFT's format, and merge it into the engine's own weights."""
    torch.manual_seed(0)
    weights: dict[str, torch.Tensor] = {}
    for name, module in engine._loaded.model.named_modules():
        if name.startswith("model.language_model") and name.endswith(("q_proj", "v_proj")):
            down, up = torch.randn(8, module.in_features) / 10, torch.randn(module.out_features, 8) / 10
            weights |= {f"base_model.model.{name}.lora_A.weight": down, f"base_model.model.{name}.lora_B.weight": up}
            module.weight.data += 2 * up @ down  # alpha / r
    save_file(weights, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"], "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(config | {"task_type": "CAUSAL_LM"}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attention": "mask"}, "--attention mask needs a mask per request.*use --engine transformers"),
        ({"positions": "preserve"}, "--positions preserve.*use --engine transformers"),
        ({"device": "cuda:3"}, "CUDA_VISIBLE_DEVICES"),
        ({"engine_args": ("tensor_paralel_size=2",)}, "did you mean tensor_parallel_size"),
    ],
)
def test_what_vllm_cannot_do_is_refused_before_loading(settings: dict[str, Any], message: str) -> None:
    from prefgen.engines.vllm.engine import check

    with pytest.raises(UsageError, match=message):
        check(EngineConfig(str(SCENES / "model"), "vllm", **settings))


def test_an_unknown_architecture_is_refused_before_loading(tmp_path: Path) -> None:
    from prefgen.engines.vllm.engine import check

    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2_vl"}))
    with pytest.raises(UsageError, match="type 'qwen2_vl' have not been tested with vLLM"):
        check(EngineConfig(str(tmp_path), "vllm"))


def test_settings_that_vllm_refuses_or_cannot_meet_are_told_apart() -> None:
    with pytest.raises(UsageError, match="vLLM refuses the settings"):
        load("model", "quantization=no-such-thing")
    with pytest.raises(EnvironmentFault, match="vLLM cannot start"):
        load("model", "num_gpu_blocks_override=1")


def test_a_run_by_command_gives_the_transformers_engines_pairs(tmp_path: Path) -> None:
    common = ["-i", INPUT, "-m", SCENES / "model", "--similarity-model", "minilm", "--limit", 12, "--device", "cpu"]
    vllm = [option for argument in ARGUMENTS for option in ("--engine-arg", argument)]
    for name, options in (("transformers", []), ("vllm", [*vllm, "--engine-arg", "max_model_len=512"])):
        command = ["bdhs", *common, "--engine", name, "-o", tmp_path / name, "--json", *options]
        done = subprocess.run(
            [sys.executable, "-m", "prefgen", *map(str, command)], capture_output=True, text=True, env=ENVIRONMENT
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["planned"] == 12  # nothing of vLLM's talk on stdout
    columns = ["rejected_response", "iteration", "kept_image_tokens", "image_tokens"]
    tables = [
        pyarrow.parquet.read_table(tmp_path / name / "data", columns=columns) for name in ("transformers", "vllm")
    ]
    assert tables[0].equals(tables[1])
    settings = json.loads((tmp_path / "vllm/.prefgen/plan.json").read_text())["fingerprint"]
    assert settings["engine_arg.max_model_len"] == "512"
    assert not [name for name in settings if name in ("engine_arg.enforce_eager", "engine_arg.gpu_memory_utilization")]


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    """vLLM's own server, with pictures."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(SCENES / "model")]
    command += ["--served-model-name", "scenes", "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32"]
    command += ["--enforce-eager", "--gpu-memory-utilization", "0.1", "--max-num-seqs", "16"]
    process = subprocess.Popen(command, env=ENVIRONMENT, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            assert process.poll() is None, "the server ended"
            try:
                urllib.request.urlopen(f"{url}/health", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(1)
        yield f"{url}/v1"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def test_a_served_model_says_what_the_transformers_engine_says(served: str, oracle: TransformersEngine) -> None:
    from prefgen.engines.openai_ import OpenAIEngine

    client = OpenAIEngine.connect(EngineConfig("scenes", "openai", base_url=served, batch_size=8))
    wanted = []
    for n, sample in enumerate(samples(24)):
        view = View(noise_steps=100 * (n % 3), noise_space="pixel-clamp", noise_seed=n)
        guided = {"stop": "sentence", "prefix": "There is a"} if n % 2 else {"stop": "end", "prefix": ""}
        settings = {"open_at": 0, "language": "en", "sampling": Sampling(0.0, 1.0, 24), "seed": n}
        wanted.append(Generate(sample.prompt, sample.loaded_images, view, **guided, **settings))  # type: ignore[arg-type]
    found: list[dict[int, Completion]] = []
    for one in (client, oracle):
        for ticket, generate in enumerate(wanted):
            one.submit(ticket, generate)
        replies: dict[int, Any] = {}
        while got := one.collect():
            replies |= dict(got)
        found.append(replies)
    ours, theirs = ([(reply.text, reply.finish) for _, reply in sorted(replies.items())] for replies in found)
    same = sum(one == other for one, other in zip(ours, theirs, strict=True))
    assert same >= 20, list(zip(ours, theirs, strict=True))  # of 24; the server has image preprocessing of its own
    assert {reply.finish for reply in found[0].values()} >= {"stop", "eos"}
