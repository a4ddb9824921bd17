"""What the parity scripts share: running cox, small trained runs, and a visible skip.

Every script is run by `launch/soak parity`: BIN is the folder of the programs. It prints its
figures, each beside its limit, and exits 1 if one is missed; where a module is absent it says
SKIPPED.
"""
import atexit, importlib, json, os, pathlib, shutil, subprocess, sys, tempfile

ROOT = pathlib.Path(__file__).resolve().parents[3]
BIN = pathlib.Path(os.environ.get("BIN", ROOT / ".build/release"))
DATA = pathlib.Path(os.environ.get("COX_DATA", ROOT / "../shared/data"))
WORK = tempfile.mkdtemp(prefix="cox-parity-")
_failures = []


def _finish():
    if _failures:
        print(f"kept: {WORK}")
    else:
        shutil.rmtree(WORK, ignore_errors=True)


atexit.register(_finish)


def need(*modules):
    """The modules, or the end of the script, said aloud."""
    found = []
    for name in modules:
        try:
            found.append(importlib.import_module(name))
        except ImportError:
            print(f"SKIPPED: the Python module {name} is absent (pip install {name})")
            sys.exit(0)
    return found


def program(name):
    """The path of a built program: in $BIN, or where `swift build -c release` puts it."""
    path = BIN / name
    if not path.exists():
        print(f"SKIPPED: {path} is missing: swift build -c release, or name its folder in BIN")
        sys.exit(0)
    return str(path)


def cox(*words, code=0):
    """Standard output of a cox command that must exit with `code`."""
    ended = subprocess.run(
        [program("cox"), *map(str, words)], capture_output=True, text=True, timeout=600)
    if ended.returncode != code:
        print(f"cox {' '.join(map(str, words))}\nexited {ended.returncode}, not {code}:")
        print(ended.stderr)
        _failures.append("cox")
        sys.exit(1)
    return ended.stdout if code == 0 else ended.stderr


def cox_json(*words):
    return json.loads(cox(*words, "--json"))


def train(name, plan):
    """The folder of a run of `plan`, trained here and now by a coordinator and a worker."""
    path = f"{WORK}/{name}.json"
    with open(path, "w") as file:
        json.dump(plan, file)
    cox("up", path, "--workers", 1, "--threads", 1, "--run", f"{WORK}/{name}", "--json")
    return f"{WORK}/{name}"


def file(name, text):
    """A file with this text."""
    path = f"{WORK}/{name}"
    with open(path, "w", encoding="utf-8", newline="") as out:
        out.write(text)
    return path


def world(seed, documents):
    """Texts of the generated world that no run of these scripts has trained on."""
    folder = f"{WORK}/world-{seed}"
    cox("data", "world", "--seed", seed, "--documents", documents, "--out", folder)
    with open(f"{folder}/world.jsonl", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines]


def check(what, holds, figure="", limit=""):
    """Prints a row, and remembers it when it does not hold."""
    row = f"{what:<58} {figure:<24} {limit:<22} {'ok' if holds else 'FAILED'}"
    print(row, flush=True)
    if not holds:
        _failures.append(what)


def check_at_most(what, value, limit):
    """A row whose figure must not exceed `limit`; not a number is a miss."""
    check(what, value <= limit, f"{value:.4g}", f"<= {limit:.4g}")


def skip(reason):
    print(f"SKIPPED: {reason}", flush=True)


def end():
    print(f"{len(_failures)} figures missed their limits" if _failures else "all hold")
    sys.exit(1 if _failures else 0)


def plan(name, steps=120, **changes):
    """A plan of a small model that learns enough of the world in seconds to prefer one token."""
    model = {"layers": 3, "width": 72, "heads": 6, "feed_forward": 136, "context": 128}
    tokenizer = {"kind": "bpe", "vocabulary": 509}
    model.update(changes.get("model", {}))
    return {
        "name": name,
        "seed": 11,
        "model": model,
        "tokenizer": changes.get("tokenizer", tokenizer),
        "batch": {"sequences": 8, "slices": 4},
        "data": {"source": "world", "seed": 7, "documents": 3000},
        "phases": [
            {"kind": "tokenizer"},
            {
                "kind": "pretrain",
                "steps": steps,
                "schedule": {"kind": "cosine", "peak": 4e-3, "final": 4e-4,
                             "warmup": min(10, steps)},
                "validation": {"every": 0, "tokens": 2048, "full_at_end": False},
            },
        ],
        "checkpoints": {"every": 0, "keep": 2},
    }
