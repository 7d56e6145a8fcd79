"""lmms-eval by a fake that behaves as its command line does, on output that lmms-eval 0.7.3 wrote.

`lmms_eval_0_7_3` holds the results and the first four samples of the small LLaVA on a task with the rules of its pope.
"""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from prefgen.errors import ExitCode, Stopped
from prefgen.evaluate.benchmarks import lmms
from prefgen.signals import Interrupts
from tests.cli.runs import called
from tests.engines.test_adapters import adapted
from tests.trainers.sets import SCENES

RECORDED = Path(__file__).parent / "lmms_eval_0_7_3"
TASK = "scenes_pope"
FAKE = """\
    #!{python}
    import json, pathlib, shutil, sys, time
    here = pathlib.Path({folder!r})
    if sys.argv[1] == "-c":
        print("some package's greeting")
        print(json.dumps(["0.7.3", False]))
        sys.exit()
    assert sys.argv[1:4] == ["-m", "lmms_eval", "eval"]
    words = [word for word in sys.argv[4:] if word != "--log_samples"]
    given = dict(zip(words[::2], words[1::2]))
    given["weights"] = pathlib.Path(given["--model_args"].split("=")[1].split(",")[0], "model.safetensors").exists()
    with open(here / "calls.jsonl", "a") as calls:
        calls.write(json.dumps(given) + "\\n")
    print("ERROR Error during evaluation: no such thing")
    mode = (here / "mode").read_text() if (here / "mode").exists() else ""
    if mode == "hang":
        time.sleep(60)
    if mode == "fail":
        sys.exit()  # with 0, as lmms-eval does
    out = pathlib.Path(given["--output_path"], "scenes__model")
    out.mkdir(parents=True)
    results = json.loads(pathlib.Path({recorded!r}, "results.json").read_text())
    results["results"] = {{given["--tasks"]: results["results"]["scenes_pope"]}}
    (out / "20261130_161842_results.json").write_text(json.dumps(results))
    samples = pathlib.Path({recorded!r}, "samples.jsonl")
    shutil.copy(samples, out / f"20261130_161842_samples_{{given['--tasks']}}.jsonl")
"""


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A Python in whose environment lmms-eval seems to be."""
    made = tmp_path / "python"
    text = textwrap.dedent(FAKE).format(python=sys.executable, folder=str(tmp_path), recorded=str(RECORDED))
    made.write_text(text)
    made.chmod(0o755)
    return made


def calls(python: Path) -> list[dict[str, Any]]:
    file = python.parent / "calls.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_each_task_is_run_once_and_its_figures_and_answers_are_read(python: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("eval", "lmms", "--python", python, "-m", SCENES / "model", "--device", "cpu", "--limit", "4", "-o", out)
    done = called(*command, "--tasks", TASK, "--json")
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)
    assert scores == json.loads((out / "scores.json").read_text())
    assert (scores["benchmark"], scores["lmms_eval"]) == ("lmms", "0.7.3")
    assert scores[f"{TASK}/pope_accuracy"] == scores[f"{TASK}/exact_match"] == 0.0
    assert set(scores["intervals"]) == {f"{TASK}/pope_accuracy", f"{TASK}/exact_match"}
    assert scores["questions"] == {TASK: 4}
    assert scores["empty_answers"] == {TASK: 0}
    (call,) = calls(python)
    assert call["--model"] == "llava_hf"
    model = (SCENES / "model").resolve()
    assert call["--model_args"] == f"pretrained={model},device=cpu,device_map=cpu"
    assert (call["--tasks"], call["--limit"], call["--batch_size"]) == (TASK, "4", "1")
    answers = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    assert answers[0] == {
        "question_id": "0",
        "task": TASK,
        "prompt": "Can you see a diamond in this picture?",
        "text": "Yes, the image contains a purple diamond.",
        "truth": "yes",
    }
    more = called(*command, "--tasks", f"{TASK},pope")
    assert more.returncode == 0, more.stderr
    assert [call["--tasks"] for call in calls(python)] == [TASK, "pope"]
    assert "pope: lmms-eval compares whole answers" in " ".join(more.stderr.split())
    assert "pope/exact_match" in more.stdout
    other = called(*command[:-3], "3", *command[-2:], "--tasks", TASK)
    assert other.returncode == 6
    assert "limit" in other.stderr


def test_a_task_that_fails_with_exit_code_0_is_an_error_and_is_run_again(python: Path, tmp_path: Path) -> None:
    command = ("eval", "lmms", "--python", python, "-m", SCENES / "model", "-o", tmp_path / "out", "--tasks", TASK)
    (tmp_path / "mode").write_text("fail")
    done = called(*command)
    assert done.returncode == 5
    assert "ended without results" in done.stderr
    assert "Error during evaluation: no such thing" in done.stderr
    (tmp_path / "mode").unlink()
    assert called(*command).returncode == 0
    assert len(calls(python)) == 2


def test_empty_answers_are_counted(python: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("eval", "lmms", "--python", python, "-m", SCENES / "model", "-o", out, "--tasks", TASK)
    assert called(*command).returncode == 0
    (samples,) = (out / "lmms" / TASK).rglob("*samples*")
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    rows[1]["filtered_resps"] = [[" "]]  # of several answers; of a generation that failed
    samples.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = called(*command)
    assert f"{TASK}: 1 of 4 answers are empty" in done.stderr
    samples.write_text("{")
    assert called(*command).returncode == 6


def test_an_adapter_is_merged_while_its_tasks_run(python: Path, tmp_path: Path) -> None:
    adapter = adapted(SCENES / "model", tmp_path / "adapter")
    out = tmp_path / "out"
    command = ("eval", "lmms", "--python", python, "-m", adapter, "--device", "cpu", "-o", out, "--tasks", TASK)
    assert called(*command).returncode == 0
    (call,) = calls(python)
    merged = out / "lmms" / "merged"
    assert call["weights"]
    assert call["--model_args"].startswith(f"pretrained={merged.resolve()},")
    assert not merged.exists()
    assert json.loads((out / "scores.json").read_text())["model"] == str(adapter)
    assert called(*command).returncode == 0
    assert len(calls(python)) == 1


def test_a_signal_ends_the_process_that_runs(python: Path, tmp_path: Path) -> None:
    (tmp_path / "mode").write_text("hang")
    from prefgen.engines.base import EngineConfig

    def check() -> None:
        if calls(python):
            raise Stopped("stopped", ExitCode.TERMINATED)

    job = lmms.LmmsJob(tmp_path / "out", python, [TASK], EngineConfig(model=str(SCENES / "model"), device="cpu"))
    with pytest.raises(Stopped), Interrupts(finishing=""):
        lmms.evaluate(job, lambda line: None, check)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--python", sys.executable), "has no lmms-eval"),
        (("--python", "nowhere/python"), "cannot be run"),
        (("--tasks", "../up"), "no name of a task"),
        (("-m", "{tmp}/other"), "of type 'bert': name its class in lmms-eval with --lmms-model"),
        (("-m", "{tmp}/a,b"), "no comma"),
    ],
)
def test_what_cannot_be_run_is_named(arguments: tuple[str, str], message: str, python: Path, tmp_path: Path) -> None:
    for name, kind in (("other", "bert"), ("a,b", "llava")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({"model_type": kind}))
    given: dict[str, str | Path] = {"--python": python, "--tasks": TASK, "-m": SCENES / "model"}
    given |= {arguments[0]: arguments[1].format(tmp=tmp_path)}
    done = called("eval", "lmms", *(word for pair in given.items() for word in pair), "-o", tmp_path / "out")
    assert done.returncode == 2, done.stderr
    assert message in " ".join(done.stderr.split())
