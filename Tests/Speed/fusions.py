#!/usr/bin/env python3
"""What precision and each fusion are worth: `cox bench step` in f32, in bf16, and in bf16 with one
fusion after the other taken apart, in turn.

    $PYTHON Tests/Speed/fusions.py --shapes small gpt2 --turns 3

A rate's ratio is to bf16 with everything fused, turn by turn. Bytes are those that operators must
move, each operand once (OperatorTimes); memory is the most that the process held.
"""
import argparse

from support import cox, last_object, ratios, spread, turns

FUSIONS = ["norm-pack", "rotary", "swiglu", "attention", "head", "optimizer"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=["small", "gpt2"])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", default="2")
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each side")
    arguments = parser.parse_args()

    for shape in arguments.shapes:
        def ask(*words):
            return lambda: last_object(cox(
                "bench", "step", "--json", "--shape", shape, "--threads", arguments.threads,
                "--steps", arguments.steps + 2, *words))

        sides = {"bf16": ask(), "f32": ask("--precision", "f32")}
        for fusion in [*FUSIONS, "all"]:
            sides[f"bf16 without {fusion}"] = ask("--without", fusion)
        found = turns(arguments.turns, **sides)
        rates = {name: [answer["tokens_per_s_median"] for answer in answers]
                 for name, answers in found.items()}
        last = found["bf16"][-1]
        print(f"{shape}, {last['kernels']}, {arguments.threads} threads, medians of "
              f"{arguments.steps} steps; median (least to most) of {arguments.turns} turns")
        print(f"{'':24} {'tokens/s':>24} {'of bf16':>22} {'GB moved':>9} {'GB held':>8}  digest")
        for name, answers in found.items():
            step = answers[-1]
            print(f"{name:24} {spread(rates[name]):>24} "
                  f"{spread(ratios(rates[name], rates['bf16'])):>22} "
                  f"{step['bytes_moved_per_step'] / 1e9:9.2f} "
                  f"{step['memory_peak_bytes'] / 1e9:8.2f}  {step['digest'][:12]}", flush=True)


if __name__ == "__main__":
    main()
