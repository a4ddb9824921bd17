"""The field's formulas, and what phases make of them, by PyTorch, kept for the tests in Swift.

    $PYTHON Tests/Parity/objectives.py            compares PyTorch with objectives.json
    $PYTHON Tests/Parity/objectives.py --write    writes objectives.json

A row of a formula holds arguments, the loss that PyTorch's own functions make of them in f64, and
the gradient that autograd finds. Tests/Learning/PhasesTests/ObjectiveTests.swift computes the same.

A row of a phase (reward, dpo, ipo, ppo, grpo) holds the loss of a whole mini-batch and its gradient
in the weights. Its models have no layers, so that they are a few lines here: what they make of a
position depends on the token alone that stands there. PhaseObjectiveTests.swift sends the same
weights and tokens through everything that a worker does in a step.
"""
import argparse, json, pathlib, random

from support.cox import need

need("torch")
import torch
import torch.nn.functional as F

FIXTURE = pathlib.Path(__file__).with_name("objectives.json")
torch.set_default_dtype(torch.float64)
MARGINS = [-30.0, -3.5, -0.4, 0.0, 0.1, 2.0, 25.0]
LOGS = [(-1.2, -1.2), (-0.3, -1.5), (-4.0, -0.2), (-2.0, -2.3), (-0.01, -0.02)]


def row(function, *arguments):
    """Loss and gradient in the first argument."""
    x = torch.tensor(arguments[0], requires_grad=True)
    loss = function(x, *arguments[1:])
    loss.backward()
    return {"arguments": list(arguments), "loss": loss.item(), "slope": x.grad.item()}


def sigmoid_dpo(margin, beta, smoothing):
    return (-F.logsigmoid(beta * margin) * (1 - smoothing)
            - F.logsigmoid(-beta * margin) * smoothing)


def ipo(margin, beta):
    return (margin - 1 / (2 * beta)) ** 2


def bradley_terry(difference, tie):
    return F.binary_cross_entropy_with_logits(difference, torch.tensor(0.5 if tie else 1.0))


def ppo(now, old, advantage, clip):
    ratio = torch.exp(now - old)
    return torch.max(-advantage * ratio, -advantage * torch.clamp(ratio, 1 - clip, 1 + clip))


def value(now, old, target, clip):
    clipped = torch.clamp(now, old - clip, old + clip)
    return 0.5 * torch.max((now - target) ** 2, (clipped - target) ** 2)


def k3(now, reference):
    log_ratio = reference - now
    return torch.exp(log_ratio) - 1 - log_ratio


def gae(rewards, values, gamma, lam):
    """Written as the sum it stands for: A[t] = sum_l (gamma lam)^l d[t + l]."""
    r, v = torch.tensor(rewards), torch.tensor(values + [0.0])
    delta = r + gamma * v[1:] - v[:-1]
    count = len(rewards)
    powers = torch.tensor([[(gamma * lam) ** (j - i) if j >= i else 0.0 for j in range(count)]
                           for i in range(count)])
    advantages = powers @ delta
    return {"rewards": rewards, "values": values, "gamma": gamma, "lambda": lam,
            "advantages": advantages.tolist(), "returns": (advantages + v[:-1]).tolist()}


def whitened(numbers):
    x = torch.tensor(numbers)
    return {"values": numbers,
            "result": ((x - x.mean()) / torch.sqrt(x.var(unbiased=False) + 1e-8)).tolist()}


def group(numbers):
    x = torch.tensor(numbers)
    return {"values": numbers, "result": ((x - x.mean()) / (x.std() + 1e-4)).tolist()}


MODELS = ("policy", "old policy", "reference", "reward", "value", "old value")
VOCABULARY, WIDTH, END = 9, 4, 8
# Chosen and rejected answer to each prompt. They end with different tokens, since the last one
# alone makes the score of a model without layers.
PAIRS = [
    {"prompt": [0, 3], "chosen": [5, 1, END], "rejected": [2, 6], "tie": False},
    {"prompt": [0, 6, 2], "chosen": [4, 3], "rejected": [7, 7, 1, 5, END], "tie": False},
    {"prompt": [0], "chosen": [1, 2, 3, 4, END], "rejected": [6, 3, 7], "tie": True},
    {"prompt": [0, 1, 7, 4], "chosen": [END], "rejected": [3, 5, 2, 4], "tie": False},
]
# Four answers to each of two prompts. Those that do not end were cut.
PROMPTS = [[0, 3, 5], [0, 7]]
ANSWERS = [[[1, 4, END], [2, 2, 6, 1, 7], [END], [5, 3, 4, END]],
           [[6, 1, 3, 2, END], [4, 4, 7, 2, 1], [3, 3, 7, 5, 6], [1, 5, 2, END]]]
SETTINGS = {"beta": 0.3, "clip": 0.2, "value_clip": 0.35, "gamma": 0.9, "lambda": 0.8,
            "missing_end_penalty": 0.75}


class Model:
    """Embedding, norm and a head: the embedding again for language, one row for a score."""

    def __init__(self, weights):
        self.embedding, self.norm, self.head = (
            torch.tensor(weights[name]).reshape(shape).requires_grad_()
            for name, shape in (("embedding", (VOCABULARY, WIDTH)), ("norm", (WIDTH,)),
                                ("head", (WIDTH,))))

    def normed(self, tokens):
        return F.rms_norm(self.embedding[torch.tensor(tokens)], (WIDTH,), self.norm, eps=1e-5)

    def log_probabilities(self, prompt, answer):
        """Of each token of the answer; the token before it predicts it."""
        logits = self.normed((prompt + answer)[:-1]) @ self.embedding.T
        return (F.log_softmax(logits, dim=-1)[len(prompt) - 1:]
                .gather(1, torch.tensor(answer)[:, None])[:, 0])

    def scores(self, tokens):
        return self.normed(tokens) @ self.head

    def gradient(self):
        """Of everything that has one, and its norm."""
        parts = {name: getattr(self, name).grad for name in ("embedding", "norm", "head")}
        parts = {name: part.flatten() for name, part in parts.items() if part is not None}
        return ({name: part.tolist() for name, part in parts.items()}
                | {"length": torch.cat(list(parts.values())).norm().item()})


def model_weights():
    draw = random.Random(3)
    sixteenths = lambda count, least, most: [
        draw.randint(16 * least, 16 * most) / 16 for _ in range(count)]
    def drawn():
        return {"embedding": sixteenths(VOCABULARY * WIDTH, -1, 1), "norm": sixteenths(WIDTH, 1, 2),
                "head": sixteenths(WIDTH, -2, 2)}
    def moved(weights):
        return {name: [x + draw.randint(-2, 2) / 16 for x in part]
                for name, part in weights.items()}
    made = {name: drawn() for name in ("policy", "reference", "reward", "value")}
    made |= {"old " + name: moved(made[name]) for name in ("policy", "value")}
    return [{"model": name, **made[name]} for name in MODELS]


def models():
    return {row["model"]: Model(row) for row in model_weights()}


def reward_phase():
    model = models()["reward"]
    loss = sum(
        bradley_terry(model.scores(pair["prompt"] + pair["chosen"])[-1]
                      - model.scores(pair["prompt"] + pair["rejected"])[-1], pair["tie"])
        for pair in PAIRS) / len(PAIRS)
    loss.backward()
    return {"loss": loss.item(), "reward": model.gradient()}


def preference_phase(normalized, smoothing=None):
    """DPO, or without a label smoothing IPO. A tie counts nothing."""
    beta = SETTINGS["beta"]
    made = models()
    policy, reference = made["policy"], made["reference"]

    def gain(pair, answer):
        tokens = pair["prompt"], pair[answer]
        logs = policy.log_probabilities(*tokens) - reference.log_probabilities(*tokens).detach()
        return logs.mean() if normalized else logs.sum()

    margins = torch.stack([gain(pair, "chosen") - gain(pair, "rejected")
                           for pair in PAIRS if not pair["tie"]])
    losses = ipo(margins, beta) if smoothing is None else sigmoid_dpo(margins, beta, smoothing)
    loss = losses.mean()
    loss.backward()
    return {"beta": beta, "label_smoothing": smoothing or 0.0, "length_normalized": normalized,
            "loss": loss.item(), "margin": beta * margins.mean().item(),
            "policy": policy.gradient()}


def sampled(made):
    """The answers as the old policy gave them, and what the other models say of them."""
    rows = []
    for prompt, answers in zip(PROMPTS, ANSWERS):
        for answer in answers:
            whole, first = prompt + answer, len(prompt) - 1
            score = made["reward"].scores(whole)[-1].item()
            if answer[-1] != END:
                score -= SETTINGS["missing_end_penalty"]
            rows.append({
                "prompt": prompt, "answer": answer, "ended": answer[-1] == END, "score": score,
                "old": made["old policy"].log_probabilities(prompt, answer).tolist(),
                "reference": made["reference"].log_probabilities(prompt, answer).tolist(),
                "values": made["old value"].scores(whole[:-1])[first:].tolist()})
    return rows


def column(rows, key):
    return torch.tensor([number for row in rows for number in row[key]])


def expect_some(is_clipped):
    """Clipping takes the gradient of some tokens and leaves that of others."""
    share = is_clipped.double().mean().item()
    assert 0.1 < share < 0.9, f"{share} of the tokens are clipped"


def policy_losses(policy, rows):
    """For each token of all answers the clipped loss, and ln p."""
    now = torch.cat([policy.log_probabilities(row["prompt"], row["answer"]) for row in rows])
    losses = ppo(now, column(rows, "old"), column(rows, "advantages"), SETTINGS["clip"])
    expect_some(losses > -column(rows, "advantages") * torch.exp(now - column(rows, "old")))
    return losses, now


def ppo_phase():
    made = models()
    rows = sampled(made)
    for row in rows:
        rewards = -SETTINGS["beta"] * (torch.tensor(row["old"]) - torch.tensor(row["reference"]))
        rewards[-1] += row["score"]
        found = gae(rewards.tolist(), row["values"], SETTINGS["gamma"], SETTINGS["lambda"])
        row["advantages"], row["returns"] = found["advantages"], found["returns"]
    whitened_all = whitened(column(rows, "advantages").tolist())["result"]
    for row in rows:
        row["advantages"] = [whitened_all.pop(0) for _ in row["advantages"]]
    loss = policy_losses(made["policy"], rows)[0].mean()
    now = torch.cat([made["value"].scores((row["prompt"] + row["answer"])[:-1])
                     [len(row["prompt"]) - 1:] for row in rows])
    old, returns = column(rows, "values"), column(rows, "returns")
    value_losses = value(now, old, returns, SETTINGS["value_clip"])
    expect_some(value_losses > 0.5 * (now - returns) ** 2)
    value_loss = value_losses.mean()
    (loss + value_loss).backward()
    return {**SETTINGS, "answers": rows, "loss": loss.item(), "value_loss": value_loss.item(),
            "policy": made["policy"].gradient(), "value": made["value"].gradient()}


def grpo_phase():
    made = models()
    rows = sampled(made)
    size = len(ANSWERS[0])
    for start in range(0, len(rows), size):
        found = group([row["score"] for row in rows[start:start + size]])["result"]
        for row, advantage in zip(rows[start:start + size], found):
            row["advantages"] = [advantage for _ in row["answer"]]
    losses, now = policy_losses(made["policy"], rows)
    loss = (losses + SETTINGS["beta"] * k3(now, column(rows, "reference"))).mean()
    loss.backward()
    return {**SETTINGS, "answers": rows, "loss": loss.item(),
            "policy": made["policy"].gradient()}


def fixture():
    signs = [2.0, -0.7]
    return {
        "sigmoid": [row(sigmoid_dpo, m, b, s) for m in MARGINS for b in (0.1, 0.5)
                    for s in (0.0, 0.1)],
        "identity": [row(ipo, m, b) for m in MARGINS for b in (0.1, 0.5)],
        "bradley_terry": [row(bradley_terry, m, tie) for m in MARGINS for tie in (0, 1)],
        "policy": [row(ppo, a, b, sign, 0.2) for a, b in LOGS for sign in signs],
        "value": [row(value, v, old, target, 0.2) for v in (-1.0, 0.35, 0.45, 2.0)
                  for old in (0.2, 0.5) for target in (-0.4, 0.9)],
        "k3": [row(k3, a, b) for a, b in LOGS],
        "gae": [gae([0.1, -0.2, 0.0, 1.5], [0.3, 0.1, -0.4, 0.8], 1.0, 0.95),
                gae([-0.3, 0.7], [0.0, 2.0], 0.9, 0.5), gae([1.0], [0.25], 1.0, 0.95)],
        "whiten": [whitened([0.5, -1.0, 2.0, 2.0, 0.25]), whitened([3.0])],
        "group": [group([1.0, 0.0, 0.0, 1.0, 1.0]), group([0.2, 0.9])],
        "models": model_weights(),
        "pairs": PAIRS,
        "reward": [reward_phase()],
        "dpo": [preference_phase(normalized, smoothing)
                for smoothing in (0.0, 0.1) for normalized in (False, True)],
        "ipo": [preference_phase(normalized) for normalized in (False, True)],
        "ppo": [ppo_phase()],
        "grpo": [grpo_phase()],
    }


def differences(found, kept, path=""):
    if isinstance(found, dict):
        assert found.keys() == kept.keys(), path
        for key in found:
            yield from differences(found[key], kept[key], f"{path}.{key}")
    elif isinstance(found, list):
        assert len(found) == len(kept), path
        for index, (a, b) in enumerate(zip(found, kept)):
            yield from differences(a, b, f"{path}[{index}]")
    elif isinstance(found, str):
        assert found == kept, path
    else:
        yield abs(found - kept) / max(1.0, abs(kept)), path


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        rows = ",\n".join(
            f' "{key}": [\n' + ",\n".join(f"  {json.dumps(row)}" for row in made) + "\n ]"
            for key, made in fixture().items())
        FIXTURE.write_text("{\n" + rows + "\n}\n")
        return
    gap, place = max(differences(fixture(), json.loads(FIXTURE.read_text())))
    print(f"largest difference between PyTorch {torch.__version__} and {FIXTURE.name}: {gap:.3g} "
          f"at {place.lstrip('.')} (limit 1e-12)")
    raise SystemExit(gap > 1e-12)


if __name__ == "__main__":
    main()
