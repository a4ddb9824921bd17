"""The same training, twice: a run, and its PyTorch twin with the same weights, windows and rates.

    $PYTHON Tests/Parity/training.py [--full] [--steps N] [--out FOLDER] [PART ...]
    $PYTHON Tests/Parity/training.py --follow RUN [--steps N] [--out FOLDER]

Parts:
  f32      loss of each step, both in f32
  bf16     loss of each step, and of the validation at the end, PyTorch in bf16 autocast
  masks    f32 with dropout 0.2, the twin drawing the run's own masks
  dropout  dropout 0.2, the twin drawing masks of PyTorch's, several times

Short: shape tiny on one book. --full: f32 and bf16 with shape small on all books, 50 and 300 steps.
With --out the curves stay as JSON; the twin saves its state every 50 steps and goes on from there.
--follow takes a run that there is already, which may go on meanwhile: the twin walks its first N
steps (300) beside it, with the run's own dropout masks, and reads its validations on the way.
"""
import argparse, json, pathlib, statistics, tempfile

from support.cox import DATA, check_at_most, end, skip
from support.twin import Run, RunMasks, add_dropout, evaluate, torch

SAVE_EVERY = 50
# With 5 draws, a standard normal's sample leaves +- 4 sample deviations once in 100 (Student's t).
MASK_SEEDS = range(1, 6)


# Rates at which a run forgets a rounding error. With shape small, 1e-3 reached after 25 steps leads
# to a step whose gradient is 85 long: from there on two right computations in f32 part by 0.06.
# With tiny at 1e-3 the gradient grows from 0.8 to 3 at step 29: f32 agrees within 6e-5 all the
# same, and at step 60 bf16 lies 0.4 % above it here, and 0.7 % below it in PyTorch.
SMALL = {"shape": "small", "source": DATA / "books", "vocabulary": 8192,
         "peak": 3e-4, "warmup": 100}
TINY = {"shape": "tiny", "source": DATA / "books/Burnett_Lord_1886.txt.gz", "vocabulary": 2048,
        "peak": 5e-4, "warmup": 30}
# Of each part: precision, dropout, size and steps in short, size and steps in full.
PARTS = {
    "f32": ("f32", 0, (TINY, 50), (SMALL, 50)),
    "bf16": ("bf16", 0, (TINY, 60), (SMALL, 300)),
    "masks": ("f32", 0.2, (TINY, 20), (TINY, 50)),
    "dropout": ("bf16", 0.2, (TINY, 40), (TINY, 300)),
}


def plan(part, size, steps):
    precision, dropout = PARTS[part][:2]
    # The first steps are the same however many follow: a run that ends inside the warm-up climbs
    # as steeply, and stops lower.
    warmup = min(size["warmup"], steps)
    schedule = {"kind": "constant", "peak": size["peak"] * (warmup + 1) / (size["warmup"] + 1),
                "warmup": warmup}
    return {
        "name": f"training-{part}", "seed": 1, "shape": size["shape"],
        "precision": precision, "dropout": dropout,
        "tokenizer": {"vocabulary": size["vocabulary"]}, "data": {"source": str(size["source"])},
        "phases": [
            {"kind": "tokenizer"},
            {"kind": "pretrain", "steps": steps, "schedule": schedule,
             "validation": {"every": 0, "tokens": 65536, "full_at_end": False}}],
        "checkpoints": {"every": 0},
    }


class Twin:
    """PyTorch's side of a run."""

    def __init__(self, run, state, autocast, seed=0, weights=None):
        self.run, self.state, self.autocast = run, pathlib.Path(state), autocast
        self.model = run.model(weights).train()
        settings = run.plan["optimizer"]
        matrices = [weight for weight in self.model.parameters() if weight.dim() == 2]
        gains = [weight for weight in self.model.parameters() if weight.dim() == 1]
        self.clip = settings["gradient_clip"]
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": settings["weight_decay"]},
             {"params": gains, "weight_decay": 0.0}],
            betas=(settings["beta1"], settings["beta2"]), eps=settings["epsilon"])
        self.losses = []
        torch.manual_seed(seed)
        self._load()

    def train(self, before_step=lambda step: None, after_step=lambda record: None, last=None):
        """All steps that are left, up to number `last`. `before_step` gets their numbers, from 0;
        `after_step` their records."""
        records = self.run.records()
        first, last = len(self.losses) + 1, last or len(records)
        if first <= last:
            batches = self.run.readings("--step", first, "--to", last)
            for number, batch in enumerate(batches, first):
                before_step(number - 1)
                self._step(batch, records[number]["learning_rate"])
                after_step(records[number])
                if number % SAVE_EVERY == 0 or number == last:
                    self._save()
        return self.losses

    def _step(self, batch, rate):
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss = batch.loss_sum(self.model, self.autocast) / batch.count
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        self.losses.append(loss.item())

    def validate(self, which="end"):
        (batch,) = self.run.readings("--validation", which)
        return evaluate(self.model, batch, self.autocast)

    def _save(self):
        aside = self.state.with_suffix(".part")
        torch.save({"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(),
                    "losses": self.losses, "random": torch.get_rng_state()}, aside)
        aside.rename(self.state)

    def _load(self):
        if not self.state.exists():
            return
        saved = torch.load(self.state, weights_only=True)
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.losses = saved["losses"]
        torch.set_rng_state(saved["random"])


def torch_dropout(rate):
    return lambda values, site, layer: torch.nn.functional.dropout(values, rate)


def write_curves(place, **curves):
    (place / "curves.json").write_text(json.dumps(curves, indent=1) + "\n")


def ours(run):
    records = run.records()
    losses = [records[step]["loss"] for step in sorted(records)]
    return losses, records[max(records)]["validation_loss"]


def check_f32(run, place):
    twin = Twin(run, place / "twin.pt", autocast=False)
    theirs, (losses, validation) = twin.train(), ours(run)
    theirs_validation = twin.validate()
    write_curves(place, ours=losses, twin=theirs, ours_validation=validation,
                 twin_validation=theirs_validation)
    steps = min(50, len(losses))
    gap = max(abs(a - b) for a, b in zip(losses[:50], theirs[:50]))
    check_at_most(f"f32: largest difference of a loss in the first {steps} steps", gap, 1e-3)
    check_at_most(f"f32: validation after {len(losses)} steps: {validation:.4f}, twin "
                  f"{theirs_validation:.4f}", abs(validation - theirs_validation), 0.02)


def check_bf16(run, place):
    twin = Twin(run, place / "twin.pt", autocast=True)
    theirs, (losses, validation) = twin.train(), ours(run)
    theirs_validation = twin.validate()
    write_curves(place, ours=losses, twin=theirs, ours_validation=validation,
                 twin_validation=theirs_validation)
    steps = min(200, len(losses))
    gap = max(abs(a - b) / b for a, b in zip(losses[:200], theirs[:200]))
    check_at_most(f"bf16: largest relative difference in the first {steps} steps", gap, 0.005)
    check_at_most(f"bf16: validation after {len(losses)} steps: {validation:.4f}, twin "
                  f"{theirs_validation:.4f}", abs(validation - theirs_validation), 0.02)


def check_masks(run, place):
    twin = Twin(run, place / "twin.pt", autocast=False)
    masks = RunMasks(run)
    add_dropout(twin.model, masks)
    theirs, (losses, _) = twin.train(masks.enter), ours(run)
    write_curves(place, ours=losses, twin=theirs)
    gap = max(abs(a - b) for a, b in zip(losses[:50], theirs[:50]))
    check_at_most(f"dropout 0.2, the run's masks: largest difference in {len(losses[:50])} steps",
                  gap, 1e-3)


def check_dropout(run, place):
    """Ours is one draw; the twin's draws say how far one draw lies from their mean."""
    rate, curves, validations = run.plan["dropout"], [], []
    for seed in MASK_SEEDS:
        twin = Twin(run, place / f"twin-{seed}.pt", autocast=True, seed=seed)
        add_dropout(twin.model, torch_dropout(rate))
        curves.append(twin.train())
        validations.append(twin.validate())
    losses, validation = ours(run)
    write_curves(place, ours=losses, twin=curves, ours_validation=validation,
                 twin_validation=validations)
    half = len(losses) // 2
    means = [statistics.fmean(curve[half:]) for curve in curves]
    for what, value, draws in [
            ("mean loss of the second half", statistics.fmean(losses[half:]), means),
            ("validation", validation, validations)]:
        centre, deviation = statistics.fmean(draws), statistics.stdev(draws)
        spread = deviation * (1 + 1 / len(draws)) ** 0.5
        check_at_most(f"dropout 0.2: {what} {value:.4f}, twin {centre:.4f} +- {deviation:.4f}: "
                      "deviations", abs(value - centre) / spread, 4)
        check_at_most(f"dropout 0.2: {what}: difference", abs(value - centre), 0.02)


def follow(folder, steps, place):
    """The twin of the first steps of a run, from the weights that the run began with."""
    run = Run(folder)
    twin = Twin(run, place / "twin.pt", autocast=run.plan["precision"] == "bf16",
                weights=run.remake(place / "start").initial_weights())
    masks, validations = RunMasks(run), {}
    if masks.rate > 0:
        add_dropout(twin.model, masks)

    def after_step(record):
        if record["step"] % 10 == 0:
            print(f"step {record['step']}: {record['loss']:.4f}, twin {twin.losses[-1]:.4f}",
                  flush=True)
        if record.get("validation_loss") is not None:
            validations[record["step"]] = (record["validation_loss"], twin.validate("inner"))

    theirs, records = twin.train(masks.enter, after_step, last=steps), run.records()
    losses = [records[step]["loss"] for step in range(1, steps + 1)]
    write_curves(place, ours=losses, twin=theirs, validations=validations)
    gaps = [abs(a - b) / b for a, b in zip(losses, theirs)]
    few = min(50, steps)
    # Later two right computations are two draws: roundings part them where the loss falls steeply.
    check_at_most(f"largest relative difference of a loss in {few} steps", max(gaps[:few]), 0.005)
    print(f"largest in {steps} steps: {max(gaps):.4g}")
    last = slice(-min(50, steps), None)
    means = statistics.fmean(losses[last]), statistics.fmean(theirs[last])
    check_at_most(f"mean loss of the last steps: {means[0]:.4f}, twin {means[1]:.4f}",
                  abs(means[0] - means[1]), 0.02)
    for step, (ours, theirs) in validations.items():
        check_at_most(f"validation after {step} steps: {ours:.4f}, twin {theirs:.4f}",
                      abs(ours - theirs), 0.02)


CHECKS = {"f32": check_f32, "bf16": check_bf16, "masks": check_masks, "dropout": check_dropout}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--steps", type=int, help="of every part")
    parser.add_argument("--out", help="keeps runs, curves and the twin's state here")
    parser.add_argument("--follow", metavar="RUN", help="a run that there is already")
    options = parser.parse_args()
    for part in options.parts:
        if part not in PARTS:
            parser.error(f"there is no part '{part}'; there are {', '.join(PARTS)}")
    print("training, ours against PyTorch and its AdamW")
    with tempfile.TemporaryDirectory(prefix="cox-training.") as scratch:
        if options.follow:
            follow(options.follow, options.steps or 300, pathlib.Path(options.out or scratch))
            end()
        for part in options.parts or PARTS:
            size, steps = PARTS[part][3 if options.full else 2]
            if not size["source"].exists():
                skip(f"{part}: there is no {size['source']}; COX_DATA names the data folder")
                continue
            place = pathlib.Path(options.out or scratch) / f"{size['shape']}-{part}"
            run = Run.train(plan(part, size, options.steps or steps), place)
            CHECKS[part](run, place)
    end()


if __name__ == "__main__":
    main()
