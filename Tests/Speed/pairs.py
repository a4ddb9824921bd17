#!/usr/bin/env python3
"""Times `cox bench step` beside the same training step in PyTorch, in turn, and prints the ratio.

    $PYTHON Tests/Speed/pairs.py --shapes small gpt2 --pairs 3 [--cox='--kernels avx512']

Absolute rates wander on shared processors, so each pair is one of ours and one of theirs, one after
the other, and the ratio of medians is taken inside the pair. PyTorch's side is a script that prints
tokens_per_s_median for a --shape: $YARDSTICK, by default ../shared/yardstick/torch_train.py. The
programs are those of $BIN, by default .build/release. Run it on a machine that does nothing else.
"""
import argparse, json, os, statistics, subprocess, sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("BIN", os.path.join(ROOT, ".build", "release"))
YARDSTICK = os.environ.get(
    "YARDSTICK", os.path.join(os.path.dirname(ROOT), "shared", "yardstick", "torch_train.py"))


def last_object(command):
    """The JSON object on the command's last line of output."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def spread(values):
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=["small", "gpt2"])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", default="2")
    parser.add_argument("--steps", default="10", help="timed steps of each side")
    parser.add_argument("--dtype", default="bf16", choices=["bf16", "fp32"])
    parser.add_argument("--cox", default="", help="more options for cox bench step")
    arguments = parser.parse_args()
    try:
        import torch
    except ImportError:
        return print("SKIPPED: this Python has no torch (pip install torch)")
    if not os.path.exists(YARDSTICK):
        return print(f"SKIPPED: there is no {YARDSTICK}; name one with YARDSTICK")

    common = ["--threads", arguments.threads, "--steps"]
    print(f"PyTorch {torch.__version__} compiled, {arguments.dtype}, {arguments.threads} threads; "
          f"medians of {arguments.steps} steps; median (least to most) of {arguments.pairs} pairs")
    print(f"{'shape':8} {'ours tok/s':>24} {'theirs tok/s':>24} {'ratio':>22}  "
          "MFU of measured peak")
    precision = {"bf16": "bf16", "fp32": "f32"}[arguments.dtype]
    for shape in arguments.shapes:
        ours, theirs, mfu = [], [], []
        for _ in range(arguments.pairs):
            mine = last_object(
                [os.path.join(BIN, "cox"), "bench", "step", "--json", "--shape", shape,
                 "--precision", precision, *common, str(int(arguments.steps) + 2),
                 *arguments.cox.split()])
            other = last_object(
                [sys.executable, YARDSTICK, "--compile", "--shape", shape,
                 "--dtype", arguments.dtype, *common, arguments.steps])
            ours.append(mine["tokens_per_s_median"])
            theirs.append(other["tokens_per_s_median"])
            mfu.append(mine["mfu_median"])
        ratios = [a / b for a, b in zip(ours, theirs)]
        print(f"{shape:8} {spread(ours):>24} {spread(theirs):>24} {spread(ratios):>22}  "
              f"{statistics.median(mfu):.1%} ({mine['kernels']}, "
              f"{mine['peak_measured_gflops']} GFLOP/s)",
              flush=True)


if __name__ == "__main__":
    main()
