#!/usr/bin/env python3
"""What a step costs as work grows: `cox bench step` at longer contexts, with more slices, and with
more sequences at once.

    $PYTHON Tests/Speed/growth.py --shape small --turns 3

Tokens in a step are the same in the tables of contexts and slices. Memory is the most that the
process held; `planned` is what `cox plan` would say of the same step.
"""
import argparse, statistics

from support import cox, figure, last_object, spread, turns


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="small")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", default="2")
    parser.add_argument("--steps", type=int, default=3, help="timed steps of each side")
    parser.add_argument("--tokens", type=int, default=16384, help="of a step, where it is constant")
    arguments = parser.parse_args()

    def ask(context, sequences, slices):
        return lambda: last_object(cox(
            "bench", "step", "--json", "--shape", arguments.shape, "--threads", arguments.threads,
            "--steps", arguments.steps + 2, "--context", context, "--sequences", sequences,
            "--slices", slices))

    def table(title, **sides):
        print(f"{arguments.shape}, {arguments.threads} threads, {title}; median (least to most) of "
              f"{arguments.turns} turns")
        print(f"{'':24} {'tokens/s':>24} {'s/step':>8} {'MFU (causal)':>16} {'GB held':>8} "
              f"{'planned':>8}")
        for name, answers in turns(arguments.turns, **sides).items():
            rates = [answer["tokens_per_s_median"] for answer in answers]
            last = answers[-1]
            seconds = last["tokens_per_step"] / statistics.median(rates)
            mfu = f"{last['mfu_median']:.1%} ({last['mfu_median_causal']:.1%})"
            print(f"{name:24} {spread(rates):>24} {figure(seconds):>8} {mfu:>16} "
                  f"{last['memory_peak_bytes'] / 1e9:8.2f} "
                  f"{last['memory_planned_bytes'] / 1e9:8.2f}", flush=True)

    tokens = arguments.tokens
    table(f"{tokens} tokens in a step", **{
        f"context {context}": ask(context, tokens // context, 4) for context in (256, 1024, 4096)})
    table(f"{tokens} tokens in a step, context 256", **{
        f"{slices} slices": ask(256, tokens // 256, slices) for slices in (1, 2, 4, 8)})
    table("context 256, 1 slice", **{
        f"{sequences} sequences": ask(256, sequences, 1) for sequences in (8, 16, 32, 64)})


if __name__ == "__main__":
    main()
