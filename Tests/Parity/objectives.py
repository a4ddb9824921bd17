"""The field's formulas on fixed numbers, by PyTorch, kept for the tests in Swift.

    $PYTHON Tests/Parity/objectives.py            compares PyTorch with objectives.json
    $PYTHON Tests/Parity/objectives.py --write    writes objectives.json

Each row holds arguments, the loss that PyTorch's own functions make of them in f64, and the
gradient that autograd finds. Tests/Learning/PhasesTests/ObjectiveTests.swift computes the same.
"""
import argparse, json, pathlib

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
