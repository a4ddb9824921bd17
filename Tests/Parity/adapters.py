"""A phase of adapters against its twin in PyTorch: same weights, same A, same conversations.

    $PYTHON Tests/Parity/adapters.py

The twin never merges: its layers compute W0 x + (alpha / r) B (A x) by themselves, and torch's
AdamW trains A and B. Every step reads all conversations, so their order does not matter.
"""
from conversations import TRAINING, sequence, start_and_rows
from support.cox import check, check_at_most, end, plan, train
from support.twin import Batch, Run, llama, relative_error, safetensors, torch

STEPS, RANK, ALPHA = 20, 6, 9
NAMES = {"query": "q_proj", "value": "v_proj", "output": "o_proj", "gate": "gate_proj",
         "down": "down_proj"}


class Adapted(torch.nn.Module):
    """A linear layer of frozen weights with an adapter beside it."""

    def __init__(self, layer, a, b):
        super().__init__()
        self.layer, self.a, self.b = layer, torch.nn.Parameter(a), torch.nn.Parameter(b)

    def forward(self, x):
        return self.layer(x) + ALPHA / RANK * ((x @ self.a.T) @ self.b.T)


def tuned(start, data, steps, peak):
    """A run that trains adapters beside the weights of `start`."""
    base = plan("adapters")
    return Run(train(f"adapters-{steps}", {
        **base, "precision": "f32", "initialization": {"from": start}, "tokenizer": {},
        "data": {"source": "world"},
        "phases": [{"kind": "tokenizer"},
                   {"kind": "evaluate", "validation": {"tokens": 256, "full_at_end": False}},
                   {"kind": "sft", "steps": steps, "data": {"source": data, "split": "tail 0.2"},
                    "lora": {"rank": RANK, "alpha": ALPHA, "targets": list(NAMES)},
                    "schedule": {"kind": "constant", "peak": peak, "warmup": 0}}],
        "checkpoints": {"every": 1, "keep": 2}}), kind="sft")


def adapters(run):
    folder = run.folder / "checkpoints" / f"sft-{max(run.records())}"
    return safetensors.load_file(str(folder / "adapter.safetensors"))


def twin(run, drawn):
    """Hugging Face's Llama with the run's first weights, all frozen, and its adapters."""
    model = llama(run.plan["model"], run.weights("evaluate-0")).requires_grad_(False)
    places = {}
    for index, layer in enumerate(model.model.layers):
        for parent in layer.self_attn, layer.mlp:
            for name in filter(lambda name: hasattr(parent, name), NAMES.values()):
                kind = "self_attn" if parent is layer.self_attn else "mlp"
                stem = f"model.layers.{index}.{kind}.{name}"
                places[stem] = Adapted(
                    getattr(parent, name), drawn[f"{stem}.lora_A.weight"].clone(),
                    drawn[f"{stem}.lora_B.weight"].clone())
                setattr(parent, name, places[stem])
    return model, places


def main():
    start, tokenizer, chosen, data = start_and_rows()
    # At a rate of 0 the adapters stay as they were drawn: by seed, phase and tensor.
    drawn = adapters(tuned(start, data, 1, 0))
    check("B is zero at the start", not any(
        tensor.any() for name, tensor in drawn.items() if ".lora_B." in name))
    run = tuned(start, data, STEPS, 4e-3)
    model, places = twin(run, drawn)
    trained = [weight for place in places.values() for weight in (place.a, place.b)]
    settings = run.plan["optimizer"]
    optimizer = torch.optim.AdamW(
        trained, betas=(settings["beta1"], settings["beta2"]), eps=settings["epsilon"],
        weight_decay=settings["weight_decay"])
    batch = Batch([sequence(tokenizer, row) for row in chosen[:TRAINING]])

    records, gap, norm_gap = run.records(), 0, 0
    for step in range(1, STEPS + 1):
        for group in optimizer.param_groups:
            group["lr"] = records[step]["learning_rate"]
        optimizer.zero_grad(set_to_none=True)
        loss = batch.loss_sum(model) / batch.count
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(trained, settings["gradient_clip"]))
        optimizer.step()
        gap = max(gap, abs(records[step]["loss"] - loss.item()) / loss.item())
        norm_gap = max(norm_gap, abs(records[step]["grad_norm"] - norm) / norm)
    fell = records[1]["loss"] - records[STEPS]["loss"]
    check("the loss falls", fell > 0.05, f"{fell:.4f}", "> 0.05")
    check_at_most(f"loss of {STEPS} steps, relative", gap, 1e-4)
    check_at_most(f"norm of the gradient of {STEPS} steps, relative", norm_gap, 1e-3)
    found, merged = adapters(run), run.weights(f"sft-{STEPS}")
    for stem, place in places.items():
        for name, weight in ("A", place.a), ("B", place.b):
            check_at_most(
                f"{name} of {stem}",
                relative_error(found[f"{stem}.lora_{name}.weight"], weight.detach().double()), 1e-4)
        product = place.layer.weight.double() + ALPHA / RANK * (
            found[f"{stem}.lora_B.weight"].double() @ found[f"{stem}.lora_A.weight"].double())
        check_at_most(f"merged {stem}", relative_error(merged[f"{stem}.weight"], product), 1e-6)
    end()


if __name__ == "__main__":
    main()
