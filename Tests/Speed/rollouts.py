#!/usr/bin/env python3
"""Times `cox bench rollout` beside transformers.generate on a model of the same shape, in turn, and
prints the ratio.

    $PYTHON Tests/Speed/rollouts.py --shapes small gpt2 --pairs 3 [--cox='--kernels avx512']

Both have random weights, bf16, a cache of keys and values, a batch of 32 prompts of 32 tokens, and
draw 128 tokens for each at temperature 1 from the whole vocabulary; ours gives their
log-probabilities too. Tokens drawn per second, prompts within the time, the median of three rounds
after one that is not timed.
"""
import argparse, json, os, statistics, sys, time

from support import cox, last_object, need, ratios, spread, turns

SHAPES = {  # layers, width, heads, feed-forward width, vocabulary, context
    "tiny": (4, 128, 4, 352, 2048, 256),
    "small": (6, 384, 6, 1024, 8192, 256),
    "medium": (8, 512, 8, 1408, 16384, 512),
    "gpt2": (12, 768, 12, 2048, 32768, 512),
}
BATCH, PROMPT, DRAWN, ROUNDS = 32, 32, 128, 3


def theirs(shape, threads):
    """Tokens per second of transformers.generate."""
    import torch, transformers

    torch.set_num_threads(threads)
    torch.manual_seed(1)
    layers, width, heads, forward, vocabulary, context = SHAPES[shape]
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=vocabulary, hidden_size=width, intermediate_size=forward,
        num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=heads,
        max_position_embeddings=context, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=None, pad_token_id=0)).to(torch.bfloat16).eval()
    prompts = torch.randint(1, vocabulary, (BATCH, PROMPT))
    seconds = []
    for _ in range(1 + ROUNDS):
        start = time.perf_counter()
        with torch.inference_mode():
            found = model.generate(
                prompts, attention_mask=torch.ones_like(prompts), do_sample=True, temperature=1.0,
                top_k=0, top_p=1.0, min_new_tokens=DRAWN, max_new_tokens=DRAWN, use_cache=True)
        seconds.append(time.perf_counter() - start)
        assert found.shape == (BATCH, PROMPT + DRAWN), found.shape
    return BATCH * DRAWN / statistics.median(seconds[1:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=["small", "gpt2"], choices=SHAPES)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cox", default="", help="more options for cox bench rollout")
    parser.add_argument("--theirs", choices=SHAPES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch, transformers = need("torch", "transformers")
    if arguments.theirs:
        rate = theirs(arguments.theirs, arguments.threads)
        return print(json.dumps({"tokens_per_s_median": rate}))

    threads = str(arguments.threads)
    print(f"transformers {transformers.__version__}, PyTorch {torch.__version__}, bf16, {threads} "
          f"threads; medians of {ROUNDS} rounds; median (least to most) of {arguments.pairs} pairs")
    print(f"{'shape':8} {'ours tok/s':>24} {'theirs tok/s':>24} {'ratio':>24}  ours spent on")
    for shape in arguments.shapes:
        found = turns(
            arguments.pairs,
            ours=lambda: last_object(cox(
                "bench", "rollout", "--json", "--shape", shape, "--threads", threads,
                "--streams", BATCH, "--prompt", PROMPT, "--tokens", DRAWN, "--rounds", ROUNDS,
                *arguments.cox.split())),
            theirs=lambda: last_object(
                [sys.executable, os.path.abspath(__file__), "--theirs", shape,
                 "--threads", threads]))
        ours, others = ([answer["tokens_per_s_median"] for answer in answers]
                        for answers in found.values())
        last = found["ours"][-1]
        parts = ", ".join(
            f"{name} {part:.0%}" for name, part in last["share_by"].items() if part >= 0.01)
        print(f"{shape:8} {spread(ours):>24} {spread(others):>24} "
              f"{spread(ratios(ours, others)):>24}  {last['kernels']}: {parts}", flush=True)


if __name__ == "__main__":
    main()
