"""The gradient of every tensor against Hugging Face's Llama: same weights, same batch.

    $PYTHON Tests/Parity/gradients.py [--full] [--keep FOLDER] [CASE ...]

Ours is read from the checkpoint after step 1: with the clip out of reach the first moment is
(1 - beta1) times the gradient. --full adds the shape `small`.
"""
import argparse, pathlib, tempfile

from support.cox import DATA, check_at_most, end, skip
from support.twin import Run, RunMasks, add_dropout, gradient, relative_error

WORLD = {"source": "world", "seed": 7, "documents": 600}
BOOKS = {"source": str(DATA / "books")}
ONE_BOOK = {"source": str(DATA / "books/Burnett_Lord_1886.txt.gz")}
TINY = {"shape": "tiny", "tokenizer": {"vocabulary": 509}}
# Weights so large that attention is far from an average of what it sees.
GROUPED = {
    "model": {"layers": 3, "width": 120, "heads": 6, "key_value_heads": 2, "head_width": 20,
              "feed_forward": 296, "context": 150, "tied_head": False},
    "initialization": {"standard_deviation": 0.1}, "batch": {"sequences": 12},
    "tokenizer": {"vocabulary": 509}}

CASES = {
    "tiny world": {**TINY, "data": WORLD},
    "tiny book": {**TINY, "data": ONE_BOOK},
    "tiny dropout": {**TINY, "data": WORLD, "dropout": 0.2},
    "grouped world": {**GROUPED, "data": {**WORLD, "attention": "document"}},
    "grouped book": {**GROUPED, "data": ONE_BOOK},
    "small books": {"shape": "small", "data": BOOKS},
}
LONG = ["small books"]
BRIEF = {"full_at_end": False, "tokens": 256}


def plan(case, precision):
    return {
        "name": "gradients", "seed": 3, "precision": precision, **CASES[case],
        "optimizer": {"gradient_clip": 1e9},
        "phases": [{"kind": "tokenizer"},
                   {"kind": "pretrain", "steps": 1, "validation": BRIEF}],
        "checkpoints": {"every": 1, "keep": 9},
    }


def twin_gradient(run, batch, autocast):
    model = run.model()
    if run.plan["dropout"] > 0:
        add_dropout(model.train(), RunMasks(run))
    return gradient(model, batch, autocast)


def check_exact(case, folder):
    """f32: every tensor within 1e-4 of PyTorch's f32."""
    run = Run.train(plan(case, "f32"), folder)
    (batch,) = run.readings("--step", 1)
    loss, expected = twin_gradient(run, batch, autocast=False)
    ours = run.first_gradient()
    assert ours.keys() == expected.keys(), ours.keys() ^ expected.keys()
    check_at_most(f"{case}, f32: loss", abs(run.records()[1]["loss"] - loss) / loss, 1e-5)
    for name in expected:
        check_at_most(f"{case}, f32: {name}", relative_error(ours[name], expected[name]), 1e-4)


def check_rounded(case, folder):
    """bf16: every tensor as near to PyTorch's f32 as PyTorch's own bf16 is, within a quarter."""
    run = Run.train(plan(case, "bf16"), folder)
    (batch,) = run.readings("--step", 1)
    loss, exact = twin_gradient(run, batch, autocast=False)
    _, rounded = twin_gradient(run, batch, autocast=True)
    ours = run.first_gradient()
    assert ours.keys() == exact.keys(), ours.keys() ^ exact.keys()
    check_at_most(f"{case}, bf16: loss", abs(run.records()[1]["loss"] - loss) / loss, 1e-3)
    for name in exact:
        limit = 1.25 * relative_error(rounded[name], exact[name]) + 1e-3
        check_at_most(f"{case}, bf16: {name}", relative_error(ours[name], exact[name]), limit)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--full", action="store_true", help="adds " + ", ".join(LONG))
    parser.add_argument("--keep", help="where the runs are kept")
    options = parser.parse_args()
    for case in options.cases:
        if case not in CASES:
            parser.error(f"there is no case '{case}'; there are {', '.join(CASES)}")
    chosen = options.cases or [case for case in CASES if options.full or case not in LONG]
    print("gradients of step 1, relative error against Hugging Face Llama in f32")
    with tempfile.TemporaryDirectory(prefix="cox-gradients.") as scratch:
        for case in chosen:
            source = CASES[case]["data"]["source"]
            if source != "world" and not pathlib.Path(source).exists():
                skip(f"{case}: there is no {source}; COX_DATA names the data folder")
                continue
            place = pathlib.Path(options.keep or scratch) / case.replace(" ", "-")
            check_exact(case, place / "f32")
            check_rounded(case, place / "bf16")
    end()


if __name__ == "__main__":
    main()
