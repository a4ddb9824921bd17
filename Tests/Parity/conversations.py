"""SFT's masked loss and its gradient against Hugging Face: same weights, same conversations.

    $PYTHON Tests/Parity/conversations.py

The other side reads the conversations by itself: the exported tokenizer and chat template, the
mask that transformers makes of the template's generation tags, every conversation alone. Ours
packs two into a window, cuts the step into slices and takes the mean over all of them. Both take
the loss over the assistant's tokens and the token that ends a message.
"""
import json

from support.cox import WORK, check, check_at_most, cox, end, file, need, plan, train, world
from support.twin import Batch, Run, evaluate, gradient, llama, relative_error, transformers

[jinja2] = need("jinja2")

# A window of 128 holds two conversations of these lengths, never three.
LENGTHS = range(50, 63)
TRAINING, HELD_BACK = 16, 4


def conversation(number, texts):
    """Turns of one to four messages, in each of the forms that rows may have."""
    first, second, third, fourth = texts
    if number % 4 == 0:
        return {"messages": [
            {"role": "system", "content": first}, {"role": "user", "content": second},
            {"role": "assistant", "content": third}, {"role": "user", "content": "Go on."},
            {"role": "assistant", "content": fourth}]}
    if number % 4 == 1:
        return {"prompt": f"{first} {second}", "completion": f"{third} {fourth}"}
    if number % 4 == 2:
        return {"instruction": first, "input": second, "output": f"{third} {fourth}"}
    return {"messages": [{"role": "user", "content": f"{first} {second} {third}"},
                         {"role": "assistant", "content": fourth}]}


def messages(row):
    """As docs/plan.md says that rows are read."""
    if "messages" in row:
        return row["messages"]
    said = row.get("prompt") or "\n\n".join([row["instruction"], row["input"]])
    return [{"role": "user", "content": said},
            {"role": "assistant", "content": row.get("completion") or row["output"]}]


def sequence(tokenizer, row):
    """A conversation as transformers reads it; see `Batch`."""
    read = tokenizer.apply_chat_template(
        messages(row), tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    learned = read["assistant_masks"]
    masked = [place for place, is_learned in enumerate(learned[1:]) if not is_learned]
    return {"tokens": read["input_ids"], "masked": masked, "segment_starts": [0]}


def check_refused(tokenizer):
    """A system message opens the user message behind it; without one both sides refuse the row."""
    row = {"messages": [
        {"role": "system", "content": "Be brief."}, {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "Go on."}, {"role": "assistant", "content": "No."}]}
    try:
        sequence(tokenizer, row)
        theirs = "read"
    except jinja2.exceptions.TemplateError as error:
        theirs = str(error)
    data = {"source": file("refused.jsonl", json.dumps(row) + "\n")}
    path = file("refused.json", json.dumps({
        **plan("refused"), "data": {"source": "world"},
        "phases": [{"kind": "tokenizer"}, {"kind": "sft", "steps": 1, "data": data}]}))
    ours = cox("up", path, "--workers", 1, "--run", f"{WORK}/refused", code=65)
    reason = "behind a system message comes no user message"
    check("an answer right behind a system message is refused",
          reason in theirs and reason in ours, theirs)


def rows(tokenizer):
    """Conversations whose lengths let exactly two into a window."""
    sentences = [text.strip() + "." for document in world(31, 3000)
                 for text in document.split(".") if text.strip()]
    found = []
    while len(found) < TRAINING + HELD_BACK:
        row = conversation(len(found), [sentences.pop() for _ in range(4)])
        if len(sequence(tokenizer, row)["tokens"]) in LENGTHS:
            found.append(row)
    return found


def start_and_rows():
    """A run to start from, its tokenizer in transformers, rows that suit it, and their file."""
    start = train("start", {**plan("start", 60), "precision": "f32"})
    cox("export", start, "--hf", f"{WORK}/exported")
    tokenizer = transformers.AutoTokenizer.from_pretrained(f"{WORK}/exported")
    chosen = rows(tokenizer)
    data = file("rows.jsonl", "".join(json.dumps(row) + "\n" for row in chosen))
    return start, tokenizer, chosen, data


def main():
    start, tokenizer, chosen, data = start_and_rows()
    check_refused(tokenizer)
    base = plan("sft")
    run = Run(train("sft", {
        **base, "precision": "f32", "initialization": {"from": start},
        "tokenizer": {}, "optimizer": {"gradient_clip": 1e9},
        "data": {"source": data, "split": f"tail {HELD_BACK / (TRAINING + HELD_BACK)}"},
        # At a rate of 0 the validation sees the weights that the step saw.
        "phases": [{"kind": "tokenizer"},
                   {"kind": "sft", "steps": 1,
                    "schedule": {"kind": "constant", "peak": 0, "warmup": 0}}],
        "checkpoints": {"every": 1, "keep": 9}}), kind="sft")
    model = llama(run.plan["model"], run.weights("sft-1"))
    trained, held_back = [Batch([sequence(tokenizer, row) for row in part])
                          for part in (chosen[:TRAINING], chosen[TRAINING:])]

    record = run.records()[1]
    # In a window of two, the first one's last token is read too, and predicts nothing.
    read = sum(len(sequence["tokens"]) - 1 for sequence in trained.sequences) + TRAINING // 2
    check("tokens read by the step", record["tokens"] == read, f"{record['tokens']}", f"= {read}")
    loss, expected = gradient(model, trained)
    check_at_most("loss of the step", abs(record["loss"] - loss) / loss, 1e-5)
    ours = run.first_gradient()
    for name in expected:
        check_at_most(f"gradient of {name}", relative_error(ours[name], expected[name]), 1e-4)
    count = record["validation_tokens"]
    check("tokens that count, held back", count == held_back.count, f"{count}",
          f"= {held_back.count}")
    loss = evaluate(model, held_back)
    check_at_most("loss of what is held back", abs(record["validation_loss"] - loss) / loss, 1e-5)
    end()


if __name__ == "__main__":
    main()
