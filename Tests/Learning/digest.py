"""Recomputes a checkpoint's digest from its files alone: digest.py CHECKPOINT"""
import hashlib, json, struct, sys

folder = sys.argv[1]
manifest = json.load(open(f"{folder}/manifest.json"))
state = json.load(open(f"{folder}/state.json"))
weights = open(f"{folder}/model.safetensors", "rb")
header_bytes = struct.unpack("<Q", weights.read(8))[0]
header = json.loads(weights.read(header_bytes))
moments = [open(f"{folder}/{name}.f32", "rb") for name in ("first_moment", "second_moment")]

digest = hashlib.sha256()
for tensor in sorted(manifest["tensors"], key=lambda t: t["name"].encode()):
    count = 1
    for dimension in tensor["shape"]:
        count *= dimension
    entry = header[tensor["name"]]
    begin, end = entry["data_offsets"]
    assert entry["dtype"] == "F32" and entry["shape"] == tensor["shape"]
    assert end - begin == 4 * count
    digest.update(tensor["name"].encode() + b"\0")
    digest.update(struct.pack(f"<{len(tensor['shape'])}Q", *tensor["shape"]))
    weights.seek(8 + header_bytes + begin)
    digest.update(weights.read(4 * count))
    for moment in moments:
        moment.seek(4 * tensor["offset"])
        digest.update(moment.read(4 * count))
digest.update(struct.pack("<3Q", state["phase_index"], state["step"], state["tokens_total"]))
print(digest.hexdigest())
