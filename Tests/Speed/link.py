#!/usr/bin/env python3
"""Trains over links of 1 Gbit/s: a coordinator and two workers in three network namespaces.

    Tests/Speed/link.py [--rate 1gbit] [--steps 10]

The wires are those of cluster/namespaces, limited in either direction by tc tbf; needs root and
iproute2. Two tables:

Line rate: what the exchange makes of the link when there is next to nothing to compute, by the size
of the gradient. The ranks of `cox bench allreduce` live in one process and cannot stand in
different namespaces, so a run does it: shape small with other numbers of layers, two sequences of
16 tokens. Seconds are from the first bucket that is ready to the end of the exchange, medians of
steps and means of both workers, so one that has to wait for the other counts as a slow link. The
rate is that of the gradient's bytes; frames of 1,514 bytes with 1,448 of them leave it 95.6 %.

Hidden: shape small, two slices, a micro-batch of 8,192 tokens for each worker. `window` is exchange
while cores compute, `exposed` exchange while they stand still: mean of both workers, and that of
the one that was later, which waits for the link alone. Bytes may be hidden whose last contribution
is there before the backward pass ends: all but the look-up part. What the link carries at most in
the later one's exposed time, the look-up part taken off, was not hidden.
"""
import argparse, contextlib, os, signal, statistics, subprocess, sys, tempfile

from support import ROOT, bench_plan, median_of, output, program, resolved, settings, skip, \
    timed_steps

NAMESPACES = os.path.join(ROOT, "cluster", "namespaces")
# A set beside those of the tests.
os.environ["NAMESPACES"] = "coxspeed"
UNITS = {"gbit": 1e9, "mbit": 1e6}
LINE_RATE, HIDDEN = 0.92, 0.85
MIB = 1 << 20


def bytes_per_second(rate):
    return float(rate[:-4]) * UNITS[rate[-4:]] / 8


@contextlib.contextmanager
def wires(rate):
    """Limited ones, while the body runs."""
    for command in (["check"], ["up"], ["limit", rate]):
        done = subprocess.run([NAMESPACES, *command], capture_output=True, text=True)
        if done.returncode != 0:
            subprocess.run([NAMESPACES, "down"])
            skip(done.stderr.strip() or f"this machine has no 'namespaces {command[0]}'")
    try:
        yield
    finally:
        subprocess.run([NAMESPACES, "down"], check=True)


def inside(index, name, *words):
    """The command that runs a program in a namespace; it becomes the program."""
    return [NAMESPACES, "exec", str(index), program(name), *map(str, words), "--plaintext"]


def train(folder, plan, words):
    """The timed steps of a run: the coordinator in namespace 0, a worker in 1 and in 2."""
    with tempfile.TemporaryDirectory(dir=folder) as place, contextlib.ExitStack() as ending:
        run = os.path.join(place, "run")
        address = f"{output([NAMESPACES, 'address', '0']).strip()}:7070"
        log = ending.enter_context(open(os.path.join(place, "log"), "w+"))

        def start(command):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
            ending.callback(process.wait)
            ending.callback(process.kill)
            return process

        coordinator = start(inside(
            0, "coordinator", plan, "--run", run, "--listen", address, "--min-workers", 2, *words))
        for index in (1, 2):
            start(inside(index, "worker", "--coordinator", address, "--threads", 1))
        if coordinator.wait(timeout=1800) != 0:
            log.seek(0)
            sys.exit(f"the run failed:\n{log.read()[-2000:]}")
        return timed_steps(run)


def exposed(step):
    return step["seconds_by"]["exchange"]


def window(step):
    return step["exchange_hidden"]


def later_exposed(step):
    return min(node["wait"] for node in step["nodes"])


def measure_line_rate(folder, plan, line):
    print(f"{'gradient MiB':>12} {'sent MiB':>9} {'seconds':>8} {'MB/s':>6}  "
          f"share of the line, at least {LINE_RATE:.0%} wanted")
    for layers in (1, 3, 8):
        words = settings(model__layers=layers, model__context=16, batch__sequences=2,
                         batch__slices=2, batch__microbatch=1)
        told = resolved(plan, "--workers", 2, *words)
        sent = told["wire_bytes_per_step_max"]
        steps = train(folder, plan, words)
        seconds = [window(step) + exposed(step) for step in steps]
        median = statistics.median(seconds)
        print(f"{4 * told['parameters'] / MIB:12.1f} {sent / MIB:9.1f} {median:8.3f} "
              f"{sent / median * 1e-6:6.1f}  {sent / median / line:.1%} "
              f"({sent / max(seconds) / line:.1%} to {sent / min(seconds) / line:.1%})",
              flush=True)


def measure_hidden(folder, plan, line):
    sequences = 8192 // resolved(plan)["plan"]["model"]["context"]
    words = settings(batch__sequences=2 * sequences, batch__slices=2, batch__microbatch=sequences)
    told = resolved(plan, "--workers", 2, *words)
    # Of two workers that hold a node each, one sends 4 E. The corpus has ids of the tokenizer only.
    rows = min(told["plan"]["tokenizer"]["vocabulary"], told["tokens_per_step"])
    lookup = 4 * rows * told["plan"]["model"]["width"]
    early = 4 * told["parameters"]
    steps = train(folder, plan, words)

    def share(step):
        return 1 - max(0, later_exposed(step) * line - lookup) / early

    shares = [share(step) for step in steps]
    print(f"sent {(early + lookup) / MIB:.1f} MiB by each worker, {lookup / MIB:.1f} of them "
          f"look-up part, {(early + lookup) / line:.3f} s of the link; "
          f"step {median_of(steps, lambda step: step['seconds']):.2f} s")
    print(f"window {median_of(steps, window):.3f} s, exposed {median_of(steps, exposed):.3f} s, of "
          f"the later worker {median_of(steps, later_exposed):.3f} s")
    print(f"hidden {statistics.median(shares):.1%} ({min(shares):.1%} to {max(shares):.1%}) of "
          f"the bytes that may be, at least {HIDDEN:.0%} wanted")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", default="1gbit", help="like 1gbit or 500mbit")
    parser.add_argument("--steps", type=int, default=10, help="timed steps of each run")
    arguments = parser.parse_args()
    line = bytes_per_second(arguments.rate)
    print(f"{arguments.rate} for each worker in either direction; medians of {arguments.steps} "
          "steps (least to most)")
    # Ended from outside it takes its wires down.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with wires(arguments.rate), tempfile.TemporaryDirectory(prefix="cox-speed-") as folder:
        plan = bench_plan(folder, "small", arguments.steps)
        measure_line_rate(folder, plan, line)
        measure_hidden(folder, plan, line)


if __name__ == "__main__":
    main()
