"""Models that transformers wrote, taken in: the same logits here, and training goes on from them.

The same files come out again as went in; what is not a plain Llama is refused by name (exit 65).
"""
import filecmp, json, os, shutil

from support.cox import WORK, check, cox, cox_json, end, file, need, plan, train, world

torch, transformers, safetensors = need("torch", "transformers", "safetensors")
need("safetensors.torch")
from safetensors import safe_open

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
torch.set_num_threads(1)

texts = world(seed=97, documents=400)
base = train("base", plan("base", steps=60, model={"tied_head": False, "key_value_heads": 2}))
exported = f"{WORK}/exported"
cox("export", base, "--hf", exported)

# Out, in, out: the same bytes in every file, in both types.
for type in ("f32", "bf16"):
    first, second = f"{WORK}/first-{type}", f"{WORK}/second-{type}"
    cox("export", base, "--hf", first, "--dtype", type)
    cox("import", first, "--out", f"{WORK}/in-{type}")
    cox("export", f"{WORK}/in-{type}", "--hf", second, "--dtype", type)
    same, differing, odd = filecmp.cmpfiles(first, second, os.listdir(first), shallow=False)
    check(f"{type}: export, import, export",
          sorted(same) == sorted(os.listdir(first)) == sorted(os.listdir(second)),
          f"{len(same)} files equal", f"all of {len(os.listdir(first))}")


def random_model(name, type, shard="5GB", **changes):
    """A model that transformers drew and wrote, with the tokenizer of ours."""
    torch.manual_seed(3)
    sizes = dict(
        vocab_size=509, hidden_size=72, intermediate_size=136, num_hidden_layers=2,
        num_attention_heads=6, num_key_value_heads=3, max_position_embeddings=128,
        initializer_range=0.2)
    config = transformers.LlamaConfig(**(sizes | changes))
    model = transformers.LlamaForCausalLM(config).to(type)
    folder = f"{WORK}/{name}"
    model.save_pretrained(folder, max_shard_size=shard)
    shutil.copy(f"{exported}/tokenizer.json", folder)
    # Not model.float(): it keeps rotary frequencies that were rounded with the weights.
    return folder, transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)


def compare(name, folder, model):
    cox("import", folder, "--out", f"{folder}-in")
    worst, largest = 0.0, 0.0
    for text in texts[:5]:
        out = f"{WORK}/logits.safetensors"
        cox("evaluate", f"{folder}-in", "--logits", file("prompt.txt", text[:60]), "--out", out,
            "--precision", "f32")
        with safe_open(out, "pt") as opened:
            ids = [int(word) for word in opened.metadata()["ids"].split()]
            ours = opened.get_tensor("logits")
        with torch.no_grad():
            theirs = model(torch.tensor([ids])).logits[0]
        worst = max(worst, (theirs - ours).abs().max().item())
        largest = max(largest, theirs.abs().max().item())
    limit = 1e-4 * max(1, largest)
    check(f"{name}: logits, f32", worst <= limit, f"{worst:.2e}", f"<= {limit:.2e}")


compare("f32", *random_model("f32", torch.float32))
compare("bf16, tied", *random_model("bf16", torch.bfloat16, tie_word_embeddings=True))
compare("f16", *random_model("f16", torch.float16))
compare("head_dim 20, theta 1e6, padded vocabulary", *random_model(
    "wide", torch.float32, head_dim=20, vocab_size=512,
    rope_parameters={"rope_type": "default", "rope_theta": 1e6}))
folder, model = random_model("shards", torch.float32, shard="200KB")
parts = [name for name in os.listdir(folder) if name.endswith(".safetensors")]
check("shards: more than one", len(parts) > 1, f"{len(parts)} files")
compare("shards", folder, model)

# Training goes on from the model: the first loss is the imported model's, not ln V of a fresh one.
source = f"{WORK}/first-f32"
path = file("text.txt", "\n".join(texts))
cox("import", source, "--out", f"{WORK}/start")
run = f"{WORK}/further"
words = ["--set", "phases=" + json.dumps([
    {"kind": "tokenizer"},
    {"kind": "pretrain", "steps": 20, "schedule": {"peak": 1e-3, "warmup": 2}},
]), "--set", "batch.sequences=16", "--set", "batch.slices=4", "--set", "checkpoints.every=5"]
cox("up", f"{WORK}/start/plan.json", "--run", run, "--workers", 2, "--threads", 1, *words)
before = cox_json("evaluate", base, "--loss", path)["loss"]
after = cox_json("evaluate", run, "--loss", path)["loss"]
with open(f"{run}/metrics.jsonl") as lines:
    steps = [json.loads(line) for line in lines]
check("20 more steps: the first begins where the model was",
      abs(steps[0]["loss"] / before - 1) < 0.1, f"{steps[0]['loss']:.3f}", f"{before:.3f} +- 10 %")
check("20 more steps: the loss falls", after < before, f"{after:.3f}", f"< {before:.3f}")


def refused(name, needle, change, code=65):
    folder = f"{WORK}/refused-{name}"
    shutil.copytree(exported, folder)
    with open(f"{folder}/config.json") as file:
        config = json.load(file)
    change(folder, config)
    with open(f"{folder}/config.json", "w") as file:
        json.dump(config, file)
    said = cox("import", folder, "--out", f"{folder}-in", code=code)
    check(f"refused: {name}", needle in said and not os.path.exists(f"{folder}-in"),
          "" if needle in said else said.strip(), f"names {needle}")


def tensors(folder, change):
    path = f"{folder}/model.safetensors"
    found = safetensors.torch.load_file(path)
    change(found)
    safetensors.torch.save_file(found, path, metadata={"format": "pt"})


name = "model.layers.0.self_attn.q_proj"
refused("architecture", "model_type", lambda f, c: c.update(model_type="mistral"))
refused("activation", "hidden_act", lambda f, c: c.update(hidden_act="gelu"))
refused("rope scaling", "rope_scaling", lambda f, c: c.update(
    rope_scaling={"rope_type": "llama3", "factor": 8.0}))
refused("attention bias", "attention_bias", lambda f, c: c.update(attention_bias=True))
refused("quantization", "quantization_config", lambda f, c: c.update(
    quantization_config={"bits": 4}))
refused("a bias", f"{name}.bias", lambda f, c: tensors(
    f, lambda t: t.update({f"{name}.bias": torch.zeros(72)})))
refused("a missing tensor", f"{name}.weight", lambda f, c: tensors(
    f, lambda t: t.pop(f"{name}.weight")))
refused("another shape", f"{name}.weight", lambda f, c: tensors(
    f, lambda t: t.update({f"{name}.weight": torch.zeros(72, 71)})))
refused("integers", f"{name}.weight", lambda f, c: tensors(
    f, lambda t: t.update({f"{name}.weight": torch.zeros(72, 72, dtype=torch.int8)})))
refused("not a number", f"{name}.weight", lambda f, c: tensors(
    f, lambda t: t[f"{name}.weight"].fill_(float("nan"))))
refused("tied, with another head", "lm_head", lambda f, c: c.update(tie_word_embeddings=True))
refused("no tokenizer", "tokenizer.json", lambda f, c: os.remove(f"{f}/tokenizer.json"), code=66)
end()
