from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import prefgen as package
from prefgen import option_files
from prefgen.cli.commands import load
from prefgen.errors import UsageError
from prefgen.methods import BASELINES
from tests.cli.runs import called, data_digests, prefgen, write_input


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_input(tmp_path_factory.mktemp("input"), 40)


def fake(source: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return called("bdhs", "-i", source, "-m", "none", "--engine", "fake", "-o", out, *options)


def test_help_is_one_screen_with_examples() -> None:
    for flag in ("-h", "--help"):
        shown = prefgen(flag)
        assert shown.returncode == 0
        assert "prefgen bdhs --input" in shown.stdout
        assert len(shown.stdout.splitlines()) <= 64


def test_help_imports_nothing_heavy() -> None:
    heavy = "numpy", "torch", "transformers", "sentence_transformers", "datasets", "pyarrow", "vllm", "openai"
    code = f"import sys, prefgen.cli; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    for arguments in (["--help"], ["bdhs", "--help"], ["train", "--help"]):
        ended = "atexit.register(lambda: print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr))"
        code = f"import atexit, sys; sys.argv[1:] = {arguments}; {ended.format(heavy=(*heavy, 'pydantic', 'regex'))}"
        done = subprocess.run(
            [sys.executable, "-c", f"{code}; from prefgen.cli import main; main()"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == "[]\n", arguments


def test_a_model_that_is_not_there_is_told_before_similarity_models_are_imported(source: Path, tmp_path: Path) -> None:
    arguments = ["bdhs", "-i", str(source), "-m", str(tmp_path / "nowhere"), "-o", str(tmp_path / "out")]
    code = f"import sys; sys.modules['sentence_transformers'] = None; sys.argv[1:] = {arguments}"
    command = [sys.executable, "-c", f"{code}; from prefgen.cli import main; main()"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (5, f"error: there is no folder {tmp_path / 'nowhere'}")


def test_version() -> None:
    assert prefgen("--version").stdout == f"prefgen {package.__version__}\n"


def test_a_run_ends_with_shards_a_card_and_figures(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = fake(source, out, "--json", "--shard-size", "16")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert (figures["planned"], figures["pairs"], figures["pending"]) == (40, 40, 0)
    assert [path.name for path in sorted((out / "data").iterdir())] == [
        f"train-0000{number}-of-00003.parquet" for number in range(3)
    ]
    assert (out / "README.md").exists()
    assert "40/40 rows" in done.stderr  # talk goes to stderr, in plain lines when it is no terminal
    assert "\x1b" not in done.stdout + done.stderr
    assert called("verify", out).returncode == 0


@pytest.mark.parametrize("command", [("povid",), *(("baseline", name) for name in BASELINES)], ids=" ".join)
def test_the_other_methods_run_like_bdhs(command: tuple[str, ...], source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("-i", source, "-m", "none", "--engine", "fake", "-o", out, "--json", "--shard-size", "16")
    done = called(*command, *options)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["planned"] == 40
    assert figures["pairs"] > 30
    assert figures["similarity"]["p50"] < 1
    assert called("verify", out).returncode == 0
    assert (out / "preview.html").exists()


def test_a_baseline_takes_no_option_of_another(source: Path, tmp_path: Path) -> None:
    for arguments, named in ((("blind", "--rho", "0.5"), "--rho"), (("unheard",), "unheard")):
        done = called("baseline", *arguments, "-i", source, "-m", "none", "--engine", "fake", "-o", tmp_path / "out")
        assert done.returncode == 2
        assert named in done.stderr


def test_a_finished_run_started_again_does_nothing(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    fake(source, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    again = fake(source, out)
    assert again.returncode == 0
    assert "finished already" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in before if path.name != "lock"} == {
        path: time for path, time in before.items() if path.name != "lock"
    }


def test_batch_sizes_give_the_same_bytes(source: Path, tmp_path: Path) -> None:
    digests = []
    for size in (1, 7, 32):
        fake(source, tmp_path / str(size), "--batch-size", str(size), "--similarity-threshold", "0.6")
        digests.append(data_digests(tmp_path / str(size)))
    assert digests[0]
    assert digests[0] == digests[1] == digests[2]


def test_drift_is_refused_naming_the_setting(source: Path, tmp_path: Path) -> None:
    fake(source, tmp_path / "out")
    drifted = fake(source, tmp_path / "out", "--rho", "0.5", "--seed", "3")
    assert drifted.returncode == 6
    assert "method.rho" in drifted.stderr
    assert "method.seed" in drifted.stderr
    assert "Traceback" not in drifted.stderr


def test_what_cannot_change_output_is_free_to_change(source: Path, tmp_path: Path) -> None:
    fake(source, tmp_path / "out")
    assert fake(source, tmp_path / "out", "--batch-size", "3", "--device", "cuda:7").returncode == 0


def test_a_dry_run_shows_the_plan_and_a_prompt_and_writes_nothing(source: Path, tmp_path: Path) -> None:
    shown = fake(source, tmp_path / "out", "--dry-run")
    assert shown.returncode == 0
    for expected in ("40 (80 sentences", "0.6 of 64 expected to stay visible", "user: Describe it.", "▏"):
        assert expected in shown.stderr
    assert not (tmp_path / "out").exists()


def test_quiet_prints_the_figures_alone(source: Path, tmp_path: Path) -> None:
    done = fake(source, tmp_path / "out", "--quiet")
    assert done.stderr == ""
    assert "pairs" in done.stdout


def test_too_many_drops_end_in_exit_code_3(source: Path, tmp_path: Path) -> None:
    rows = json.loads(source.read_text())
    rows[3]["image"] = "gone.jpg"
    broken = source.parent / "broken.json"
    broken.write_text(json.dumps(rows))
    assert fake(broken, tmp_path / "a").returncode == 0
    strict = fake(broken, tmp_path / "b", "--max-dropped", "0.01")
    assert strict.returncode == 3
    assert "1 of 40 rows were dropped (2.5%)" in strict.stderr
    assert "gone.jpg" in strict.stderr  # the report of missing images
    drops = [json.loads(line) for line in (tmp_path / "b/.prefgen/dropped/000000.jsonl").read_text().splitlines()]
    assert [drop["reason"] for drop in drops] == ["IMG_MISSING"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rho", "1.5"], "--rho 1.5 is outside 0 … 1"),
        (["--preset", "bdhs-atn"], "did you mean 'bdhs-attn'?"),
        (["--engine", "jax"], "choose from auto, transformers"),
        (["--engine-arg", "quantization=awq"], "is for --engine vllm, not fake"),
        (["--config", "/nowhere.toml"], "configuration /nowhere.toml cannot be read"),
    ],
)
def test_wrong_options_end_in_exit_code_2_without_a_traceback(
    source: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    done = fake(source, tmp_path / "out", *options)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_input_and_a_missing_model_have_their_exit_codes(source: Path, tmp_path: Path) -> None:
    assert fake(tmp_path / "nothing.json", tmp_path / "out").returncode == 2
    done = called("bdhs", "-i", source, "-m", tmp_path / "no-model", "-o", tmp_path / "out")
    assert done.returncode == 5
    assert "no-model" in done.stderr


def test_the_command_line_wins_over_the_file_and_the_file_over_its_preset(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("preset: bdhs-noise-300\nnoise-steps: 200\nseed: 5\ntemperature: 0.5\n")
    fake(source, tmp_path / "out", "--config", str(path), "--seed", "6")
    settings = json.loads((tmp_path / "out/.prefgen/plan.json").read_text())["fingerprint"]
    assert settings["method.variant"] == "noise"
    assert settings["method.noise_steps"] == 200
    assert settings["method.seed"] == 6
    assert settings["method.temperature"] == 0.5


def test_a_preset_on_the_command_line_wins_over_the_file(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("rho = 0.5\nseed = 5\n")
    fake(source, tmp_path / "out", "--preset", "bdhs-attn-0.98", "--config", str(path))
    settings = json.loads((tmp_path / "out/.prefgen/plan.json").read_text())["fingerprint"]
    assert (settings["method.rho"], settings["method.seed"]) == (0.98, 5)


def test_the_written_configuration_repeats_the_run(source: Path, tmp_path: Path) -> None:
    fake(source, tmp_path / "first", "--seed", "9", "--similarity-threshold", "0.6", "--keep-tokens", "3")
    lock = tmp_path / "first/.prefgen/config.lock"
    assert called("bdhs", "--config", lock, "-o", tmp_path / "second").returncode == 0
    assert data_digests(tmp_path / "first") == data_digests(tmp_path / "second")


def test_unknown_keys_are_errors_with_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown option 'temprature'; did you mean 'temperature'"):
        option_files.check_keys({"temprature": 1}, {"temperature": False, "top_p": False}, tmp_path)
    with pytest.raises(UsageError, match="rho is a list"):
        option_files.check_keys({"rho": [1]}, {"rho": False}, tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "a: &x 1\nb: *x", "aliases"),
        ("a.yaml", "a: !!python/object/apply:os.system ['true']", "not valid YAML"),
        ("a.toml", "a = ", "not valid TOML"),
        ("a.yaml", "- 1", "not a table"),
    ],
)
def test_hostile_configuration_files_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=message):
        option_files.read(tmp_path / name)


def test_engine_arguments_may_be_given_several_times_and_by_file(source: Path, tmp_path: Path) -> None:
    arguments = ["--engine-arg", "max_model_len=9", "--engine-arg", "hf_token=x", "--engine", "vllm"]
    assert "engine-arg hf_token is not yours to set" in fake(source, tmp_path / "out", *arguments).stderr
    path = tmp_path / "run.toml"
    path.write_text('engine = "vllm"\nengine-args = ["quantization=awq", "seedling"]\n')
    done = called("bdhs", "-i", source, "-m", "none", "-o", tmp_path / "out", "--config", path)
    assert "--engine-arg 'seedling' has no value" in done.stderr
    assert done.returncode == 2


def test_masks_are_refused_where_a_server_generates(source: Path, tmp_path: Path) -> None:
    served = ["--engine", "openai", "--base-url", "http://127.0.0.1:9/v1"]
    done = fake(source, tmp_path / "out", *served)
    assert done.returncode == 2
    assert "no image token can be masked" in done.stderr


def test_presets_are_listed() -> None:
    shown = called("presets").stdout
    for name in ("bdhs-attn", "bdhs-attn-0.98", "bdhs-noise-300", "attention-masking-0.99"):
        assert name in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ("bdhs", "-i", "x.json", "-m", "none"),
        ("import", "trl", "x.json"),
        ("sample", "run", "--rows", "3"),
        ("export", "run", "--to", "trl"),
        ("train", "dpo", "run", "-m", "none"),
        ("noise", "photo.jpg"),
        ("doctor",),
    ],
    ids=lambda arguments: str(arguments[0]),
)
def test_an_address_is_no_output(arguments: tuple[str, ...]) -> None:
    done = called(*arguments, "-o", "s3://bucket/out")
    assert done.returncode == 2
    assert "--output s3://bucket/out: commits need the renames and locks of a file system" in done.stderr
    assert not Path("s3:").exists()


def test_a_copy_of_a_run_verifies(source: Path, tmp_path: Path) -> None:
    """What the refusal of an address advises."""
    assert called("bdhs", "-i", source, "-m", "none", "--engine", "fake", "-o", tmp_path / "out").returncode == 0
    shutil.copytree(tmp_path / "out", tmp_path / "elsewhere" / "copy")
    assert called("verify", tmp_path / "elsewhere" / "copy").returncode == 0


def test_an_input_of_which_nothing_can_be_used_says_why(source: Path, tmp_path: Path) -> None:
    rows = json.loads(source.read_text())[:4]
    for row in rows[:3]:
        row["conversations"][0]["value"] = "<image><image>What is it?"
    rows[3]["image"] = "gone.jpg"
    broken = source.parent / "useless.json"
    broken.write_text(json.dumps(rows))
    ended = fake(broken, tmp_path / "out")
    assert ended.returncode == 2
    assert "IMG_COUNT 3, e.g. row 1: 1 images for 2 <image> tags" in ended.stderr
    assert "IMG_MISSING 1, e.g. gone.jpg" in ended.stderr
    assert not (tmp_path / "out").exists()


def test_the_plan_lists_what_the_reader_drops(source: Path, tmp_path: Path) -> None:
    rows = json.loads(source.read_text())[:4]
    rows[2]["conversations"][0]["value"] = "<image><image>What is it?"
    broken = source.parent / "partly.json"
    broken.write_text(json.dumps(rows))
    shown = fake(broken, tmp_path / "out", "--dry-run")
    assert "1 of 4 rows will be dropped" in shown.stderr
    assert "IMG_COUNT 1, e.g. row 3" in shown.stderr


def test_every_option_that_repeats_takes_a_list_in_a_file(tmp_path: Path) -> None:
    """As the configuration that a run writes has it."""
    path = tmp_path / "options.toml"
    required = ["-i", "rows.json", "-m", "model", "-o", "out", "--config", str(path)]
    path.write_text('detector = ["one", "two"]\n')
    assert load("sentences").make_context("sentences", [*required]).params["detector"] == ["one", "two"]
    path.write_text('also = "three"\n')
    assert load("rank").make_context("rank", required).params["also"] == ["three"]
