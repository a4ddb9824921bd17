"""The same model here and in Hugging Face transformers: logits, greedy texts, losses.

Models are trained for some seconds, exported, and opened by AutoModelForCausalLM. Limits:

  logits   f32, 20 prompts: max |difference| <= 1e-4 max(1, max |logit|)
  greedy   f32, 20 prompts, 32 tokens: the same ids
  loss     8,192 tokens, our bf16 beside transformers in f32 and in bf16: within 0.5 %
"""
from support.cox import WORK, check, cox, cox_json, end, file, need, plan, train, world

torch, transformers, safetensors = need("torch", "transformers", "safetensors")
need("safetensors.torch")
from safetensors import safe_open

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
# Two threads that wait for each other on a busy machine take minutes for small products.
torch.set_num_threads(1)

MODELS = {
    "tied": {},
    "untied, grouped heads": {
        # Heads wider than width / heads, three query heads for each of keys and values.
        "model": {"tied_head": False, "key_value_heads": 2, "head_width": 16, "rope_theta": 5e4},
    },
    "bytes, tied, grouped heads": {
        "model": {"key_value_heads": 3, "norm_epsilon": 1e-6},
        "tokenizer": {"kind": "bytes"},
    },
    "characters, untied": {
        "model": {"tied_head": False},
        "tokenizer": {"kind": "characters"},
    },
}
PROMPTS = 20


def logits_of(run, prompt):
    out = f"{WORK}/logits.safetensors"
    cox("evaluate", run, "--logits", file("prompt.txt", prompt), "--out", out,
        "--precision", "f32", "--threads", 1)
    with safe_open(out, "pt") as opened:
        ids = [int(word) for word in opened.metadata()["ids"].split()]
        return ids, opened.get_tensor("logits")


def compare_logits(name, run, model, prompts):
    worst, largest = 0.0, 0.0
    for prompt in prompts:
        ids, ours = logits_of(run, prompt)
        with torch.no_grad():
            theirs = model(torch.tensor([ids])).logits[0]
        assert theirs.shape == ours.shape, (theirs.shape, ours.shape)
        worst = max(worst, (theirs - ours).abs().max().item())
        largest = max(largest, theirs.abs().max().item())
    limit = 1e-4 * max(1, largest)
    check(f"{name}: logits, f32", worst <= limit, f"{worst:.2e}", f"<= {limit:.2e}")


def compare_greedy(name, run, model, tokenizer, prompts):
    equal, count = 0, 0
    for prompt in prompts:
        ours = cox_json("generate", run, "--prompt", prompt, "--temperature", 0,
                        "--max-tokens", 32, "--precision", "f32", "--threads", 1)["ids"]
        ids = tokenizer(prompt, return_tensors="pt")
        ids.pop("token_type_ids", None)
        # What ends a text comes from generation_config.json, as it does for any user.
        text = model.generate(**ids, do_sample=False, max_new_tokens=32)
        theirs = text[0, ids["input_ids"].shape[1]:].tolist()
        count += len(ours)
        equal += ours == theirs
        if ours != theirs:
            print(f"after {prompt!r}\n  here  {ours}\n  there {theirs}")
    check(f"{name}: greedy texts, f32", equal == len(prompts),
          f"{equal} of {len(prompts)}", f"all ({count} tokens)")


def windows(ids, length, limit):
    """As `cox evaluate --max-tokens` chooses them: evenly spaced full windows."""
    count = (len(ids) - 2) // length + 1
    chosen = min(max(1, limit // length), count) if len(ids) - 1 > limit else count
    for index in range(chosen):
        start = index * count // chosen * length
        end = min(start + length, len(ids) - 1)
        yield ids[start:end + 1]


def mean_loss(model, ids, length, limit):
    total, count = 0.0, 0
    for window in windows(ids, length, limit):
        with torch.no_grad():
            logits = model(torch.tensor([window[:-1]])).logits[0].float()
        targets = torch.tensor(window[1:])
        total += torch.nn.functional.cross_entropy(logits, targets, reduction="sum").item()
        count += len(targets)
    return total / count, count


def compare_loss(name, run, folder, tokenizer, texts):
    text = "\n".join(texts)
    path = file("text.txt", text)
    length = tokenizer.model_max_length
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    ours = {
        precision: cox_json("evaluate", run, "--loss", path, "--max-tokens", 8192,
                            "--precision", precision)
        for precision in ("bf16", "f32")
    }
    for precision, type in (("f32", torch.float32), ("bf16", torch.bfloat16)):
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=type)
        theirs, count = mean_loss(model, ids, length, 8192)
        assert count == ours["bf16"]["tokens"] == 8192, (count, ours)
        apart = abs(ours["bf16"]["loss"] / theirs - 1)
        check(f"{name}: loss, our bf16 to their {precision}", apart <= 0.005,
              f"{ours['bf16']['loss']:.5f} {theirs:.5f}", f"{100 * apart:.4f} % <= 0.5 %")
        if precision == "f32":
            # f32 against f32: only the order of sums differs, 1e-5 is a hundred times that.
            apart = abs(ours["f32"]["loss"] / theirs - 1)
            check(f"{name}: loss, f32 to f32", apart <= 1e-5, f"{apart:.1e}", "<= 1e-05")


texts = world(seed=99, documents=1500)
prompts = [text[: 12 + 3 * index] for index, text in enumerate(texts[:PROMPTS])]
for number, (name, changes) in enumerate(MODELS.items()):
    run = train(f"model-{number}", plan(f"model-{number}", **changes))
    folder = f"{WORK}/hf-{number}"
    cox("export", run, "--hf", folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert type(model).__name__ == "LlamaForCausalLM"
    compare_logits(name, run, model, prompts)
    compare_greedy(name, run, model, tokenizer, prompts)
    compare_loss(name, run, folder, tokenizer, texts)
    rounded = f"{WORK}/hf-{number}-bf16"
    cox("export", run, "--hf", rounded, "--dtype", "bf16")
    auto = transformers.AutoModelForCausalLM.from_pretrained(rounded, dtype="auto")
    check(f"{name}: --dtype bf16 is what dtype='auto' gives", auto.dtype == torch.bfloat16,
          str(auto.dtype), "torch.bfloat16")
    expected = {key: value.to(torch.bfloat16) for key, value in model.state_dict().items()}
    same = all(torch.equal(value, expected[key]) for key, value in auto.state_dict().items())
    check(f"{name}: bf16 weights round as torch rounds", same)
end()
