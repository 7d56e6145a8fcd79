"""Figure 10 of the paper on the scenes: the share of non-similar answers after each iteration.

    python examples/figure10.py --output /tmp/figure10 --limit 200

Tries values of ρ and of N on the same rows and prints both tables in Markdown; the plots are in the output folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from prefgen import BDHS, EngineConfig, SourceOptions
from prefgen.evaluate import tune

SCENES = Path(__file__).parent / "scenes"
RHO = [(f"ρ = {rho:g}", BDHS(rho=rho)) for rho in (0, 0.5, 0.9, 0.99, 1)]
NOISE = [(f"N = {steps}", BDHS(variant="noise", noise_steps=steps)) for steps in (100, 300, 500)]


def main() -> None:
    """Try both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=200)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    rows = str(SCENES / "llava_instruct.json"), SourceOptions(limit=arguments.limit)
    model = EngineConfig(str(SCENES / "model"), similarity_model="minilm")
    print("| setting | visible tokens | iteration 1 | 2 | 3 | 4 | 5 |\n| --- | --- | --- | --- | --- | --- | --- |")
    for name, methods in (("rho", RHO), ("noise-steps", NOISE)):
        trials = []
        for trial in tune.pilot(methods, *rows, model):
            trials.append(trial)
            shares = " | ".join(f"{share:.1%}" for share in trial.non_similar)
            print(f"| {trial.method.variant}, {trial.setting} | {trial.kept_tokens:.1f} | {shares} |", flush=True)
        (arguments.output / f"{name}.svg").write_text(tune.plot(trials))


if __name__ == "__main__":
    main()
