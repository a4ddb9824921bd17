#!/usr/bin/env python3
"""Times `cox bench step` beside the same training step in PyTorch, in turn, and prints the ratio.

    $PYTHON Tests/Speed/pairs.py --shapes small gpt2 --pairs 3 [--cox='--kernels avx512']

PyTorch's side is a script that prints tokens_per_s_median for a --shape: $YARDSTICK, by default
../shared/yardstick/torch_train.py.
"""
import argparse, statistics, sys

from support import YARDSTICK, cox, last_object, need, need_yardstick, ratios, spread, turns


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=["small", "gpt2"])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", default="2")
    parser.add_argument("--steps", type=int, default=10, help="timed steps of each side")
    parser.add_argument("--dtype", default="bf16", choices=["bf16", "fp32"])
    parser.add_argument("--cox", default="", help="more options for cox bench step")
    arguments = parser.parse_args()
    (torch,) = need("torch")
    need_yardstick()

    print(f"PyTorch {torch.__version__} compiled, {arguments.dtype}, {arguments.threads} threads; "
          f"medians of {arguments.steps} steps; median (least to most) of {arguments.pairs} pairs")
    print(f"{'shape':8} {'ours tok/s':>24} {'theirs tok/s':>24} {'ratio':>22}  "
          "MFU of measured peak")
    precision = {"bf16": "bf16", "fp32": "f32"}[arguments.dtype]
    for shape in arguments.shapes:
        common = ["--shape", shape, "--threads", arguments.threads, "--steps"]
        found = turns(
            arguments.pairs,
            ours=lambda: last_object(cox(
                "bench", "step", "--json", "--precision", precision, *common,
                arguments.steps + 2, *arguments.cox.split())),
            theirs=lambda: last_object(
                [sys.executable, YARDSTICK, "--compile", "--dtype", arguments.dtype, *common,
                 str(arguments.steps)]))
        ours, theirs = ([answer["tokens_per_s_median"] for answer in answers]
                        for answers in found.values())
        last = found["ours"][-1]
        mfu = statistics.median(answer["mfu_median"] for answer in found["ours"])
        print(f"{shape:8} {spread(ours):>24} {spread(theirs):>24} "
              f"{spread(ratios(ours, theirs)):>22}  {mfu:.1%} ({last['kernels']}, "
              f"{last['peak_measured_gflops']} GFLOP/s)", flush=True)


if __name__ == "__main__":
    main()
