"""The PyTorch twin of a run: the same weights, windows, rates and clip in Hugging Face's Llama.

Everything the twin knows of a run comes from what a run leaves for anybody: plan.resolved.json,
metrics.jsonl, the checkpoints, and `cox data inspect RUN --step S --json`.
"""
import json, math, os, pathlib, subprocess

from support.cox import need, program

np, torch, transformers, safetensors = need(
    "numpy", "torch", "transformers", "safetensors.torch")
torch.set_num_threads(len(os.sched_getaffinity(0)))
transformers.logging.set_verbosity_error()


class Run:
    """A run folder, looked at for its first phase of a kind."""

    def __init__(self, folder, kind="pretrain"):
        self.folder = pathlib.Path(folder)
        self.plan = json.loads((self.folder / "plan.resolved.json").read_text())
        self.phase_index, self.phase = next(
            (index, phase) for index, phase in enumerate(self.plan["phases"])
            if phase["kind"] == kind)

    @classmethod
    def train(cls, plan, folder):
        """Runs `plan`, a tokenizer and a pretraining, to its end or on from where it was stopped.

        An evaluation before the first step makes the run save its initial weights.
        """
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer, pretrain = plan["phases"]
        start = {"kind": "evaluate", "name": "start",
                 "validation": {"full_at_end": False, "tokens": 256}}
        file = folder / "plan.json"
        file.write_text(json.dumps({**plan, "phases": [tokenizer, start, pretrain]}, indent=1))
        command = [program("cox"), "up", str(file), "--run", str(folder / "run"),
                   "--threads", str(torch.get_num_threads())]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)} exited {done.returncode}\n{done.stderr}")
        return cls(folder / "run")

    def records(self):
        """By step; of a step that was repeated, the last record counts."""
        lines = (self.folder / "metrics.jsonl").read_text().splitlines()
        name = self.phase["name"]
        records = filter(lambda record: record["phase"] == name, map(json.loads, lines))
        return {record["step"]: record for record in records}

    def readings(self, *options):
        """What `cox data inspect` says that steps or validations read, one `Batch` for each."""
        command = [program("cox"), "data", "inspect", str(self.folder), "--json",
                   *map(str, options)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                yield Batch(json.loads(line)["sequences"])
        if process.returncode != 0:
            raise SystemExit(f"{' '.join(command)} exited {process.returncode}")

    def weights(self, checkpoint):
        folder = self.folder / "checkpoints" / checkpoint
        return safetensors.load_file(str(folder / "model.safetensors"))

    def first_moment(self, checkpoint):
        """By tensor name, f64."""
        folder = self.folder / "checkpoints" / checkpoint
        flat = np.fromfile(folder / "first_moment.f32", dtype="<f4").astype(np.float64)
        moments = {}
        for place in json.loads((folder / "manifest.json").read_text())["tensors"]:
            count = math.prod(place["shape"])
            values = flat[place["offset"]:place["offset"] + count].reshape(place["shape"])
            moments[place["name"]] = torch.from_numpy(values.copy())
        return moments

    def first_gradient(self):
        """The clipped mean gradient of step 1, out of the moments after it: m = (1 - beta1) g."""
        factor = float(np.float32(1 - self.plan["optimizer"]["beta1"]))
        moments = self.first_moment(f"{self.phase['name']}-1")
        return {name: moment / factor for name, moment in moments.items()}

    def initial_weights(self):
        """Those of a run that `train` has made: its first phase ends before the first step."""
        return self.weights("start-0")

    def model(self, weights=None):
        """Hugging Face's Llama with the run's initial weights, or with others."""
        return llama(self.plan["model"], weights or self.initial_weights())

    def remake(self, folder):
        """The beginning of this run once more, one step, for the initial weights: they are a
        function of the plan."""
        plan = {key: self.plan[key] for key in (
            "name", "seed", "precision", "model", "initialization", "batch", "optimizer")}
        tokenizer = next(phase for phase in self.plan["phases"] if phase["kind"] == "tokenizer")
        data = self.phase["data"]
        schedule = {"kind": "constant", "peak": 1e-3, "warmup": 0}
        return Run.train({
            **plan, "tokenizer": self.plan["tokenizer"], "data": data,
            "phases": [
                {**tokenizer, "data": data},
                {"kind": "pretrain", "steps": 1, "schedule": schedule,
                 "validation": {"every": 0, "tokens": 256, "full_at_end": False}}],
            "checkpoints": {"every": 0}}, folder)


def llama(sizes, weights=None):
    """Hugging Face's Llama of a plan's `model` section, with weights of its own where none are
    given."""
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=sizes["vocabulary"], hidden_size=sizes["width"],
        intermediate_size=sizes["feed_forward"], num_hidden_layers=sizes["layers"],
        num_attention_heads=sizes["heads"], num_key_value_heads=sizes["key_value_heads"],
        head_dim=sizes["head_width"], max_position_embeddings=sizes["context"],
        rms_norm_eps=sizes["norm_epsilon"], tie_word_embeddings=sizes["tied_head"],
        rope_parameters={"rope_type": "default", "rope_theta": float(sizes["rope_theta"])},
        attention_bias=False, mlp_bias=False, attention_dropout=0.0, use_cache=False,
        attn_implementation="sdpa"))
    if weights is not None:
        missing, unexpected = model.load_state_dict(weights, strict=False)
        tied = {"lm_head.weight"} if sizes["tied_head"] else set()
        assert not unexpected and set(missing) <= tied, (missing, unexpected)
    return model


class Batch:
    """Sequences as tensors, padded to the longest; padding and masked positions have label -100."""

    def __init__(self, sequences):
        self.sequences = sequences
        lengths = [len(sequence["tokens"]) - 1 for sequence in sequences]
        width = max(lengths)
        self.inputs = torch.zeros(len(sequences), width, dtype=torch.long)
        self.labels = torch.full((len(sequences), width), -100)
        for row, (sequence, length) in enumerate(zip(sequences, lengths)):
            tokens = torch.tensor(sequence["tokens"])
            self.inputs[row, :length] = tokens[:-1]
            self.labels[row, :length] = tokens[1:]
            self.labels[row, sequence["masked"]] = -100
        self.count = int((self.labels != -100).sum())
        self.mask = self._document_mask(width) if any(
            len(sequence["segment_starts"]) > 1 for sequence in sequences) else None

    def _document_mask(self, width):
        """[B, 1, T, T], true where a query may see a key: causal, inside its document."""
        documents = torch.zeros(len(self.sequences), width, dtype=torch.long)
        for row, sequence in enumerate(self.sequences):
            for start in sequence["segment_starts"][1:]:
                documents[row, start:] += 1
        causal = torch.ones(width, width, dtype=torch.bool).tril()
        return (causal & (documents[:, :, None] == documents[:, None, :]))[:, None]

    def parts(self, size):
        """The batch in parts of `size` sequences, each with the padding that it needs."""
        starts = range(0, len(self.sequences), size)
        return [Batch(self.sequences[start:start + size]) for start in starts]

    def loss_sum(self, model, autocast=False):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits = model(input_ids=self.inputs, attention_mask=self.mask).logits
        wide = logits if logits.dtype == torch.float64 else logits.float()
        return torch.nn.functional.cross_entropy(
            wide.flatten(0, 1), self.labels.flatten(), ignore_index=-100, reduction="sum")


def gradient(model, batch, autocast=False):
    """Mean loss and its gradient by tensor name, f64."""
    model.zero_grad(set_to_none=True)
    loss = batch.loss_sum(model, autocast) / batch.count
    loss.backward()
    return loss.item(), {name: weight.grad.double() for name, weight in model.named_parameters()}


def evaluate(model, batch, autocast=False, size=16):
    """Mean loss without dropout."""
    model.eval()
    with torch.no_grad():
        total = sum(part.loss_sum(model, autocast).item() for part in batch.parts(size))
    model.train()
    return total / batch.count


def relative_error(ours, reference):
    return float((ours.double() - reference).norm() / reference.norm())


def add_dropout(model, drop):
    """Dropout where docs/numerics.md says ours is: on the embedding and on both residual branches.

    Only while the model trains. `drop(values, site, layer)` gets [B, T, D]; sites are 1 embedding,
    2 attention, 3 feed-forward.
    """
    def hook(site, layer):
        def apply(module, inputs, output):
            if not module.training:
                return output
            if isinstance(output, tuple):
                return drop(output[0], site, layer), *output[1:]
            return drop(output, site, layer)
        return apply

    model.model.embed_tokens.register_forward_hook(hook(1, 0))
    for index, layer in enumerate(model.model.layers):
        layer.self_attn.register_forward_hook(hook(2, index))
        layer.mlp.register_forward_hook(hook(3, index))


class Stream:
    """A random stream of ours, drawn anew from docs/numerics.md."""

    def __init__(self, seed, phase=0, step=0, slice=0, purpose=0):
        state = seed
        for word in (phase, step, slice, purpose):
            state = mix64(state ^ mix64((word + 0x9E3779B97F4A7C15) % 2**64))
        self.key0, self.key1 = np.uint32(state % 2**32), np.uint32(state >> 32)

    def bits(self, count):
        """Draws 0 ..< count, 32 bits each."""
        index = np.arange(count, dtype=np.uint32)
        return mix32(mix32(index ^ self.key0) ^ self.key1)


def mix64(x):
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % 2**64
    return x ^ (x >> 31)


def mix32(x):
    x = x ^ (x >> np.uint32(16))
    x = x * np.uint32(0x7FEB352D)
    x = x ^ (x >> np.uint32(15))
    x = x * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


class RunMasks:
    """The run's own dropout masks of one step; for `add_dropout`.

    Holds for steps whose sequences all have full length: the values are those of the whole step.
    """

    def __init__(self, run, step=0):
        self.run, self.step = run, step
        self.rate = run.plan["dropout"]
        self.slices = run.plan["batch"]["slices"]

    def enter(self, step):
        self.step = step

    def __call__(self, values, site, layer):
        bits = np.concatenate([
            self._stream(index, 1000 * site + layer).bits(values.numel() // self.slices)
            for index in range(self.slices)])
        kept = (bits >> np.uint32(8)) >= np.uint32(math.ceil(float(np.float32(self.rate)) * 2**24))
        scale = np.float32(1) / (np.float32(1) - np.float32(self.rate))
        return values * torch.from_numpy(kept * scale).reshape(values.shape)

    def _stream(self, slice_index, purpose):
        return Stream(self.run.plan["seed"], self.run.phase_index, self.step, slice_index, purpose)
