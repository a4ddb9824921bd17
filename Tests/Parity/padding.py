"""A batch with padding: what Hugging Face's Llama makes of it, kept for the tests in Swift.

    $PYTHON Tests/Parity/padding.py            compares PyTorch with padding.json
    $PYTHON Tests/Parity/padding.py --write    writes padding.json

The sequences end before the window does, hold documents that end inside them, masked predictions,
and one has nothing that counts. PyTorch gets them padded, ours lays them end to end or padded.
Tests/Learning/PhasesTests/PartitionTests.swift makes the same weights, computes the same batch in
every partition, and compares loss, tokens and gradient with this file.
"""
import argparse, json, pathlib

from support.cox import check_at_most, end
from support.twin import Batch, Stream, gradient, llama, np, torch

FIXTURE = pathlib.Path(__file__).with_name("padding.json")
MODEL = {"vocabulary": 71, "width": 36, "layers": 3, "heads": 4, "key_value_heads": 2,
         "head_width": 10, "feed_forward": 52, "context": 13, "norm_epsilon": 1e-5,
         "rope_theta": 10000, "tied_head": True}
# (length, starts of documents, first position whose prediction counts), one for each sequence. The
# first has 13 predictions that count, the sixth none: a mean of the slices' means would show.
SEQUENCES = [(13, [0], 0), (13, [0, 4, 9], 9), (6, [0], 3), (13, [0, 12], 8), (1, [0], 0),
             (7, [0, 2], 7), (10, [0, 1, 2, 5], 1), (12, [0], 4)]
PROJECTIONS = 8


def weights(model):
    """Every tensor from the stream of its rank by name: gains around 1, matrices around 0."""
    made = {}
    for rank, (name, value) in enumerate(sorted(model.named_parameters())):
        uniform = (Stream(5, purpose=rank).bits(value.numel()) >> np.uint32(8)) * np.float32(2**-24)
        values = (uniform - np.float32(0.5)) * np.float32(0.5) + np.float32(value.dim() == 1)
        made[name] = torch.from_numpy(values.astype(np.float32)).reshape(value.shape)
    return made


def sequences():
    made = []
    for number, (length, starts, first) in enumerate(SEQUENCES):
        bits = Stream(9, purpose=number).bits(length + 1)
        made.append({"tokens": [int(draw) % MODEL["vocabulary"] for draw in bits],
                     "masked": list(range(first)), "segment_starts": starts})
    return made


def fixture():
    batch = Batch(sequences())
    model = llama(MODEL, weights(llama(MODEL)))
    loss, gradients = gradient(model.double(), batch)
    tensors = {}
    for rank, name in enumerate(sorted(gradients)):
        # Of the sum of the losses, as ours is.
        flat = (gradients[name] * batch.count).flatten()
        signs = [Stream(6, purpose=1000 * number + rank).bits(flat.numel()) & np.uint32(1)
                 for number in range(PROJECTIONS)]
        tensors[name] = {
            "norm": float(flat.norm()),
            "projections": [float(flat @ torch.from_numpy(1.0 - 2.0 * sign)) for sign in signs]}
    return {"model": MODEL, "sequences": batch.sequences, "tokens": batch.count,
            "loss_sum": loss * batch.count, "gradient": tensors}


def text(made):
    """JSON with a line for each sequence and each tensor."""
    def lines(opening, items, closing):
        return opening + "\n" + ",\n".join(f"  {item}" for item in items) + f"\n {closing}"

    tensors = [f"{json.dumps(name)}: {json.dumps(tensor)}"
               for name, tensor in made["gradient"].items()]
    members = {**{key: json.dumps(value) for key, value in made.items()},
               "sequences": lines("[", map(json.dumps, made["sequences"]), "]"),
               "gradient": lines("{", tensors, "}")}
    return "{\n" + ",\n".join(f' "{key}": {value}' for key, value in members.items()) + "\n}\n"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    made = fixture()
    if parser.parse_args().write:
        FIXTURE.write_text(text(made))
        return
    kept = json.loads(FIXTURE.read_text())
    print("Tests/Parity/padding.json against Hugging Face Llama")
    check_at_most("differences in model, sequences and tokens",
                  sum(made[key] != kept[key] for key in ("model", "sequences", "tokens")), 0)
    check_at_most("loss sum, relative", abs(made["loss_sum"] / kept["loss_sum"] - 1), 1e-6)
    for name, tensor in made["gradient"].items():
        pairs = zip(tensor["projections"], kept["gradient"][name]["projections"])
        gap = max(abs(made - kept) for made, kept in pairs)
        check_at_most(f"{name}: largest projection's difference / norm", gap / tensor["norm"], 1e-5)
    end()


if __name__ == "__main__":
    main()
