"""What the measures of this folder share: the programs, what they print, and turns.

Absolute rates wander on shared processors, so the sides of a comparison are measured one after the
other, again and again, and a ratio is taken inside a turn. The programs are those of $BIN, by
default .build/release. Where something is missing a script says SKIPPED. Run all of them on a
machine that does nothing else.
"""
import importlib, json, os, statistics, subprocess, sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("BIN", os.path.join(ROOT, ".build", "release"))
# PyTorch's side of a training step: prints tokens_per_s_median for a --shape.
YARDSTICK = os.environ.get(
    "YARDSTICK", os.path.join(os.path.dirname(ROOT), "shared", "yardstick", "torch_train.py"))
# Steps of a run that are not timed, as in `cox bench step`.
WARM_UP = 2


def skip(why):
    """Ends the script, said aloud."""
    print(f"SKIPPED: {why}")
    sys.exit(0)


def need(*modules):
    """The modules, or the end of the script."""
    try:
        return [importlib.import_module(name) for name in modules]
    except ImportError as error:
        skip(f"this Python has no {error.name} (pip install {error.name})")


def need_yardstick():
    if not os.path.exists(YARDSTICK):
        skip(f"there is no {YARDSTICK}; name one with YARDSTICK")


def program(name):
    path = os.path.join(BIN, name)
    if not os.path.exists(path):
        skip(f"{path} is missing: swift build -c release, or name its folder in BIN")
    return path


def cox(*words):
    """The command, as a list of words."""
    return [program("cox"), *map(str, words)]


def output(command):
    """What the command prints; the script ends if it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def last_object(command):
    """The JSON object on the last line of what the command prints."""
    return json.loads(output(command).strip().splitlines()[-1])


def turns(count, **sides):
    """What every side answers, asked in turn, `count` times: lists by the sides' names."""
    answers = {name: [] for name in sides}
    for _ in range(count):
        for name, ask in sides.items():
            answers[name].append(ask())
    return answers


def figure(value):
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spread(values):
    """Median (least to most)."""
    median, least, most = map(figure, (statistics.median(values), min(values), max(values)))
    return f"{median} ({least} to {most})"


def ratios(ours, theirs):
    """Turn by turn."""
    return [a / b for a, b in zip(ours, theirs)]


def bench_plan(folder, shape, steps, accumulate=1):
    """A file in `folder` with the plan of which `cox bench step` measures steps."""
    path = os.path.join(folder, "plan.json")
    with open(path, "w") as file:
        file.write(output(cox(
            "bench", "step", "--print-plan", "--shape", shape, "--steps", WARM_UP + steps,
            "--accumulate", accumulate)))
    return path


def resolved(plan, *words):
    """What `cox plan` says of a plan, as an object."""
    return json.loads(output(cox("plan", plan, *words, "--json")))


def settings(**values):
    """--set options: a key's `__` stands for a dot."""
    return [word for key, value in values.items()
            for word in ("--set", f"{key.replace('__', '.')}={value}")]


def timed_steps(run):
    """The records of a run's steps that count. A step that was validated is told twice."""
    with open(os.path.join(run, "metrics.jsonl")) as lines:
        records = {record["step"]: record for record in map(json.loads, lines)}
    return [records[step] for step in sorted(records) if step > WARM_UP]


def median_of(records, value):
    return statistics.median(map(value, records))
