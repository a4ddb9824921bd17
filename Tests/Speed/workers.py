#!/usr/bin/env python3
"""Times two workers of one thread beside one worker of two and beside PyTorch's DDP, in turn.

    $PYTHON Tests/Speed/workers.py --shapes small gpt2 --times 8 1 --turns 3

A run of `cox up` in 8 slices, fewer where a step has fewer sequences, at so many times the tokens
of the yardstick's step. DDP is two processes of one thread over gloo, with as many tokens in a step
(gradients accumulated, summed once) and as the machine's congestion control has it; ours takes
micro-batches of the same size where a slice is as long. Tokens per second are medians of steps;
where the seconds of two workers went, medians of their shares of a step. Both runs of ours must
have the same losses to the last bit.
"""
import argparse, os, statistics, sys, tempfile

from support import (
    YARDSTICK, bench_plan, cox, last_object, median_of, need, need_yardstick, output, ratios,
    resolved, settings, spread, timed_steps, turns)

SLICES = 8
CAUSES = ["forward", "backward", "exchange", "wait", "optimizer", "other"]
# At how many times the yardstick's tokens, what two workers shall reach of one with two threads.
SHARED = {8: 0.97, 1: 0.90}
DDP = 1.35


def train(folder, plan, batch, workers, threads):
    """The timed steps of a run."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        run = os.path.join(place, "run")
        output(cox("up", plan, "--run", run, "--workers", workers, "--threads", threads, *batch))
        return timed_steps(run)


def ddp(shape, times, steps):
    return last_object(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         YARDSTICK, "--compile", "--shape", shape, "--threads", "1", "--accumulate", str(times),
         "--steps", str(steps)])


def bill(runs):
    """Where two workers' seconds went."""
    records = [record for run in runs for record in run]
    parts = {cause: median_of(records, lambda step: step["seconds_by"][cause] / step["seconds"])
             for cause in CAUSES}
    hidden = median_of(records, lambda step: step["exchange_hidden"])
    return (", ".join(f"{cause} {part:.1%}" for cause, part in parts.items())
            + f"; {hidden:.3f} s of exchange while cores compute")


def compare(folder, shape, times, arguments):
    plan = bench_plan(folder, shape, arguments.steps, accumulate=times)
    sequences = resolved(plan)["plan"]["batch"]["sequences"]
    slices = min(SLICES, sequences)
    microbatch = min(sequences // times // 2, sequences // slices)
    batch = settings(batch__slices=slices, batch__microbatch=microbatch)
    sides = {"two": lambda: train(folder, plan, batch, 2, 1),
             "one": lambda: train(folder, plan, batch, 1, 2)}
    if not arguments.alone:
        sides["ddp"] = lambda: ddp(shape, times, arguments.steps)
    found = turns(arguments.turns, **sides)

    if any([step["loss"] for step in run] != [step["loss"] for step in found["two"][0]]
           for run in found["two"] + found["one"]):
        sys.exit(f"{shape}: one worker and two have other losses")
    two, one = ([median_of(run, lambda step: step["tokens_per_s"]) for run in found[name]]
                for name in ("two", "one"))
    least = SHARED.get(times)
    print(f"{shape}, {times} x: {found['two'][0][0]['tokens']:,} tokens a step in {slices} slices, "
          f"micro-batches of {microbatch}")
    print(f"  2 workers x 1 thread   {spread(two):>26} tokens/s")
    print(f"  1 worker  x 2 threads  {spread(one):>26} tokens/s; 2 x 1 is "
          f"{spread(ratios(two, one))} of it" + (f", at least {least} wanted" if least else ""))
    if not arguments.alone:
        theirs = [answer["tokens_per_s_median"] for answer in found["ddp"]]
        print(f"  DDP, 2 x 1 thread      {spread(theirs):>26} tokens/s; 2 x 1 is "
              f"{spread(ratios(two, theirs))} of it, at least {DDP} wanted")
    print(f"  2 x 1 spends           {bill(found['two'])}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=["small", "gpt2"])
    parser.add_argument("--times", type=int, nargs="+", default=[8, 1],
                        help="times the tokens of the yardstick's step")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6, help="timed steps of each side")
    parser.add_argument("--alone", action="store_true", help="leave PyTorch out")
    arguments = parser.parse_args()
    if not arguments.alone:
        (torch,) = need("torch")
        need_yardstick()
        print(f"PyTorch {torch.__version__} compiled, bf16, over gloo")
    print(f"medians of {arguments.steps} steps; median (least to most) of {arguments.turns} turns")
    with tempfile.TemporaryDirectory(prefix="cox-speed-") as folder:
        for shape in arguments.shapes:
            for times in arguments.times:
                compare(folder, shape, times, arguments)


if __name__ == "__main__":
    main()
