"""The exported tokenizer in Hugging Face: the same ids and texts, and the chat template."""
from support.cox import WORK, check, cox, end, file, need, plan, train, world

(transformers,) = need("transformers")
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

STRANGE = [
    "Ferry 12345 leaves at dawn, caf\u00e9 \U0001F600 open.\n  Two  spaces.\n\n\t",
    "it's I'LL we\u2019ve don't",
    "\u00e9\u0301\u4e16\u754c \u0440\u0443\u0441\u0441\u043a\u0438\u0439\r\n\r\n end ",
    "x" * 300 + "   " + "1" * 50,
    "",
]


def compare_ids(name, run, tokenizer, texts):
    equal, back = 0, 0
    for text in texts:
        ours = [int(word) for word in
                cox("tokenizer", "encode", run, "--file", file("text.txt", text)).split()]
        theirs = tokenizer(text, add_special_tokens=False)["input_ids"]
        equal += ours == theirs
        back += tokenizer.decode(theirs) == text
        whole = tokenizer(text)["input_ids"]
        start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        equal -= whole != start + theirs
    check(f"{name}: ids equal", equal == len(texts), f"{equal} of {len(texts)}", "all")
    check(f"{name}: texts come back", back == len(texts), f"{back} of {len(texts)}", "all")


def compare_chat(name, tokenizer):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Who lives in Oslo?"},
        {"role": "assistant", "content": "Petra does."},
        {"role": "user", "content": "  And 2 + 2?\n"},
        {"role": "assistant", "content": "Four."},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    expected = (
        "<|bos|><|user_start|>Be brief.\n\nWho lives in Oslo?<|user_end|>"
        "<|assistant_start|>Petra does.<|assistant_end|>"
        "<|user_start|>  And 2 + 2?\n<|user_end|><|assistant_start|>Four.<|assistant_end|>")
    check(f"{name}: chat template", text == expected, repr(text) if text != expected else "")
    asked = tokenizer.apply_chat_template(messages[:2], tokenize=False, add_generation_prompt=True)
    check(f"{name}: generation prompt", asked.endswith("<|user_end|><|assistant_start|>"))
    batch = tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    learned = [id for id, mask in zip(batch["input_ids"], batch["assistant_masks"]) if mask]
    spoken = tokenizer.decode(learned)
    check(f"{name}: assistant_masks",
          spoken == "Petra does.<|assistant_end|>Four.<|assistant_end|>", repr(spoken))
    check(f"{name}: one {tokenizer.bos_token}, first",
          [i for i, id in enumerate(batch["input_ids"]) if id == tokenizer.bos_token_id] == [0])
    refused = [
        [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}],
        [{"role": "tool", "content": "a"}],
    ]
    for bad in refused:
        try:
            tokenizer.apply_chat_template(bad, tokenize=False)
            check(f"{name}: {bad[-1]['role']} in the wrong place is refused", False)
        except Exception as error:
            check(f"{name}: {bad[-1]['role']} in the wrong place is refused",
                  "user or assistant" in str(error))


texts = world(seed=98, documents=200)
for kind in ("bpe", "bytes", "characters"):
    tokenizer = {"kind": kind} | ({"vocabulary": 509} if kind == "bpe" else {})
    run = train(kind, plan(kind, steps=1, tokenizer=tokenizer))
    folder = f"{WORK}/hf-{kind}"
    cox("export", run, "--hf", folder)
    loaded = transformers.AutoTokenizer.from_pretrained(folder)
    # A `characters` tokenizer refuses what its text did not have, here and there.
    compare_ids(kind, run, loaded, texts + ([""] if kind == "characters" else STRANGE))
    if kind == "characters":
        check(f"{kind}: no chat template", loaded.chat_template is None)
    else:
        compare_chat(kind, loaded)
end()
