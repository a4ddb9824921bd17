"""A reward model here and in transformers: the same margins between answers, one by one.

    $PYTHON Tests/Parity/rewards.py

The other side opens what `cox export --model reward` writes as LlamaForSequenceClassification and
reads prompts and answers through the exported template, alone and as a padded batch. Ours says a
pair's margin, the preferred answer's score less the other's, so a score is known up to a constant
that the two answers of a pair share.
"""
import json

from support.cox import WORK, check, check_at_most, cox, cox_json, end, file, need, plan, train

torch, transformers = need("torch", "transformers")
transformers.logging.set_verbosity_error()
PAIRS = 12


def trained(tied):
    """A run whose reward model prefers short right answers after some seconds."""
    # Room for conversations of several turns.
    base = plan(f"reward-{tied}", 60,
                model={"tied_head": tied, "key_value_heads": 2, "context": 256})
    quick = {"validation": {"every": 0, "tokens": 512, "full_at_end": False}}
    return train(f"reward-{tied}", {**base, "phases": base["phases"] + [
        {"kind": "sft", "steps": 20, "examples": {"count": 500}, **quick},
        {"kind": "reward", "steps": 40, "examples": {"count": 500}, **quick}]})


def pairs():
    """Pairs of the generated world that have answers of many lengths."""
    cox("data", "world", "--seed", 7, "--documents", 10, "--out", f"{WORK}/text", "--examples",
        f"{WORK}/examples", "--pairs", PAIRS)
    with open(f"{WORK}/examples/pairs.jsonl", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def messages(row, answer):
    """The conversation of a pair that ends with one of its answers, after one turn or several."""
    prompt, said = row["prompt"], row[answer]
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    return turns + ([{"role": "assistant", "content": said}] if isinstance(said, str) else said)


def compare(tied, rows):
    run, folder = trained(tied), f"{WORK}/hf-{tied}"
    cox("export", run, "--hf", folder, "--model", "reward")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model, report = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True)
    model.eval()
    name = "tied" if tied else "untied"
    check(f"{name}: opens as it is, with one label",
          type(model).__name__ == "LlamaForSequenceClassification"
          and model.config.num_labels == 1 and not any(report.values()), str(report)
          if any(report.values()) else "")
    chats = [messages(row, answer) for row in rows for answer in ("chosen", "rejected")]
    texts = tokenizer.apply_chat_template(chats, tokenize=False)
    with torch.no_grad():
        alone = torch.stack([
            model(**tokenizer(text, add_special_tokens=False, return_tensors="pt")).logits[0, 0]
            for text in texts])
        batch = model(**tokenizer(
            texts, add_special_tokens=False, padding=True, padding_side="right",
            return_tensors="pt")).logits[:, 0]
    worst = 0
    for index, row in enumerate(rows):
        path = file("pair.jsonl", json.dumps(row) + "\n")
        ours = cox_json("evaluate", run, "--pairs", path, "--precision", "f32")["margin"]["mean"]
        worst = max(worst, abs(ours - (alone[2 * index] - alone[2 * index + 1]).item()))
    check(f"{name}: scores differ", alone.max() - alone.min() > 0.1,
          f"{alone.min():.3f} to {alone.max():.3f}", "by more than 0.1")
    check_at_most(f"{name}: margins of {len(rows)} pairs, f32", worst, 1e-4)
    check_at_most(f"{name}: scores in a padded batch", (batch - alone).abs().max().item(), 1e-4)


rows = pairs()
for tied in True, False:
    compare(tied, rows)
end()
