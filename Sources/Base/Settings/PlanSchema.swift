internal import Tensors

/// One key of a plan file.
public struct PlanKey: Equatable, Sendable {
  public enum Kind: Equatable, Sendable {
    case section
    /// A list of sections.
    case sections
    case text
    /// Text that may name a file: letters, digits, `-`, `_` and `.`.
    case name
    case boolean
    /// 0 to 2^64 - 1.
    case seed
    case integer(ClosedRange<Int>)
    case number(ClosedRange<Double>)
    case choice([String])
    /// A list of these names, each at most once.
    case choices([String])
    /// `"tail 0.1"` or `"documents 0.1"`.
    case split
    /// A number of tokens, or `"full"`.
    case tokenLimit
    /// Read by nobody.
    case ignored
  }

  /// From the top of the file; `phases[].steps` stands for that key of every phase.
  public let path: String
  public let kind: Kind
  /// What holds when the key is left out.
  public let unset: String
  public let help: String

  init(_ path: String, _ kind: Kind, unset: String, _ help: String) {
    self.path = path
    self.kind = kind
    self.unset = unset
    self.help = help
  }

  /// What a value must be, in words.
  public var expectation: String {
    switch kind {
    case .section: "a section { }"
    case .sections: "a list of sections [ { } ]"
    case .text: "text in double quotes"
    case .name: "a name of letters, digits, '-', '_' and '.'"
    case .boolean: "true or false"
    case .seed: "a whole number from 0 to 2^64 - 1"
    case .integer(let range): describe(range)
    case .number(let range): describe(range)
    case .choice(let names): "one of " + Self.quoted(names)
    case .choices(let names): "a list [ ] of " + Self.quoted(names) + ", each once"
    case .split: "\"tail F\" or \"documents F\" with F from 0.0001 to 0.9"
    case .tokenLimit: "a whole number of at least 1, or \"full\""
    case .ignored: "anything"
    }
  }

  /// Whether `node` is such a value; a section's members are not looked at.
  func accepts(_ node: JSONNode) -> Bool {
    switch kind {
    case .section:
      if case .object = node.value { return true }
      return false
    case .sections: return node.elements != nil
    case .text: return node.string.map { !$0.isEmpty } ?? false
    case .name: return node.string.map(Self.isName) ?? false
    case .boolean: return node.bool != nil
    case .seed: return node.unsigned != nil
    case .integer(let range): return node.int.map(range.contains) ?? false
    case .number(let range): return node.double.map(range.contains) ?? false
    case .choice(let names): return node.string.map(names.contains) ?? false
    case .choices(let names):
      let found = node.elements?.map { $0.string ?? "" } ?? []
      return !found.isEmpty && found.allSatisfy(names.contains) && Set(found).count == found.count
    case .split: return node.string.flatMap(ResolvedPlan.DataChoice.Split.init(text:)) != nil
    case .tokenLimit: return node.string == "full" || (node.int.map { $0 >= 1 } ?? false)
    case .ignored: return true
    }
  }

  private static func quoted(_ names: [String]) -> String {
    names.map { "\"\($0)\"" }.joined(separator: ", ")
  }

  private static func isName(_ text: String) -> Bool {
    let isPlain = text.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"),
        UInt8(ascii: "."):
        true
      default: false
      }
    }
    return isPlain && !text.isEmpty && text.utf8.count <= 64 && !text.hasPrefix(".")
  }
}

/// Every key a plan file may hold: the one table behind reading, `--set`, error messages and the
/// reference page.
public enum PlanSchema {
  public static let keys: [PlanKey] =
    general + model + batch + optimizer + tokenizer + data(under: "data") + phase + tuning
    + cadence

  private static let byPath = Dictionary(uniqueKeysWithValues: keys.map { ($0.path, $0) })

  /// - Parameter path: With `[]` for the position in a list.
  public static func key(at path: String) -> PlanKey? { byPath[path] }

  /// Names of the keys that may be written directly inside a section; "" is the file itself.
  public static func names(inside section: String) -> [String] {
    let prefix = section.isEmpty ? "" : section + "."
    return keys.filter { $0.kind != .ignored }.map(\.path).filter { $0.hasPrefix(prefix) }
      .map { String($0.dropFirst(prefix.count)) }.filter { !$0.contains(".") }
  }

  private static let general = [
    PlanKey("name", .name, unset: "the file's name", "What the run is called."),
    PlanKey("seed", .seed, unset: "1", "Every random draw of the run derives from it."),
    PlanKey(
      "depth", .integer(1...256), unset: "model.layers, or 4",
      "The one dial: sizes, rate and steps that are left out derive from it."),
    PlanKey(
      "shape", .choice(ModelPreset.allCases.map(\.rawValue)), unset: "none",
      "A preset of model sizes, vocabulary and sequences per step."),
    PlanKey(
      "precision", .choice(Precision.allCases.map(\.rawValue)), unset: "bf16",
      "What operands of products are rounded to; sums are f32 either way."),
    PlanKey(
      "dropout", .number(0...0.9), unset: "0",
      "Probability that an element of the embedding or of a residual branch is zeroed."),
  ]

  private static let model = [
    PlanKey("model", .section, unset: "from depth or shape", "Sizes of the transformer."),
    PlanKey(
      "model.layers", .integer(1...ModelShape.layerCountMax), unset: "depth", "Layers."),
    PlanKey("model.width", .integer(2...65536), unset: "64 x depth", "D, the residual stream."),
    PlanKey("model.heads", .integer(1...1024), unset: "width / 64", "Query heads."),
    PlanKey(
      "model.key_value_heads", .integer(1...1024), unset: "heads",
      "Key-value heads; divides heads."),
    PlanKey(
      "model.head_width", .integer(2...ModelShape.headWidthMax), unset: "width / heads", "Even."),
    PlanKey(
      "model.feed_forward", .integer(1...1_048_576), unset: "8/3 of width, up to a multiple of 32",
      "F, the width inside SwiGLU."),
    PlanKey(
      "model.vocabulary", .integer(1...4_194_304), unset: "the tokenizer's",
      "Rows of the embedding; the run writes it once the tokenizer exists."),
    PlanKey(
      "model.context", .integer(1...ModelShape.sequenceLengthMax), unset: "256",
      "Tokens of a sequence."),
    PlanKey(
      "model.tied_head", .boolean, unset: "true", "Whether the output head is the embedding."),
    PlanKey(
      "model.rope_theta", .number(1...1e12), unset: "10000", "Base of the rotary wavelengths."),
    PlanKey(
      "model.norm_epsilon", .number(1e-12...1), unset: "1e-5", "Added to the mean square."),
    PlanKey("initialization", .section, unset: "as GPT-2", "How weights start."),
    PlanKey(
      "initialization.from", .text, unset: "weights are drawn",
      "A run, a checkpoint or a Hugging Face folder of the same sizes: weights and tokenizer."),
    PlanKey(
      "initialization.reward_model", .text, unset: "a reward phase makes it",
      "A run or checkpoint whose reward model scores answers until a reward phase makes another; "
        + "sizes and tokenizer as those of `from`."),
    PlanKey(
      "initialization.standard_deviation", .number(0...10), unset: "0.02", "Of every matrix."),
    PlanKey(
      "initialization.scales_residual", .boolean, unset: "true",
      "Whether matrices that write to the residual stream start smaller by 1/sqrt(2 layers)."),
  ]

  private static let batch = [
    PlanKey("batch", .section, unset: "from context", "The text of one step and how it is cut."),
    PlanKey(
      "batch.sequences", .integer(1...1_048_576), unset: "4096 / context, at least 8",
      "Sequences per step, all workers together."),
    PlanKey(
      "batch.slices", .integer(1...4096),
      unset: "the largest power of two up to 8 that divides sequences",
      "A slice is computed by one worker; a power of two that divides sequences."),
    PlanKey(
      "batch.microbatch", .integer(1...1_048_576),
      unset: "the largest divisor of a slice's sequences with at most 2048 tokens",
      "Sequences computed at once; divides the sequences of a slice."),
  ]

  private static let optimizer = [
    PlanKey("optimizer", .section, unset: "AdamW", "AdamW; decay on matrices only."),
    PlanKey("optimizer.beta1", .number(0...0.999_999), unset: "0.9", "Of the first moment."),
    PlanKey("optimizer.beta2", .number(0...0.999_999), unset: "0.95", "Of the second moment."),
    PlanKey("optimizer.epsilon", .number(1e-16...1), unset: "1e-8", "Added to the root."),
    PlanKey("optimizer.weight_decay", .number(0...10), unset: "0.1", "Times the rate."),
    PlanKey(
      "optimizer.gradient_clip", .number(1e-9...1e9), unset: "1", "Limit of the gradient's norm."),
  ]

  private static let tokenizer = [
    PlanKey("tokenizer", .section, unset: "BPE", "How text becomes ids."),
    PlanKey(
      "tokenizer.kind",
      .choice(ResolvedPlan.TokenizerChoice.Kind.allCases.map(\.rawValue)), unset: "bpe",
      "Byte pairs learned from the training part, plain bytes, or single characters."),
    PlanKey(
      "tokenizer.vocabulary", .integer(1...4_194_304),
      unset: "bpe: shape's, or 2048 up to 4 layers, else 8192, for the world 1024; bytes: 263; "
        + "characters: as the text has",
      "Ids in all, special tokens included."),
    PlanKey(
      "tokenizer.splitter", .choice(ResolvedPlan.TokenizerChoice.splitters), unset: "cl100k",
      "How text is cut before merging: as for GPT-4, Llama 3, GPT-2 or GPT-4o."),
  ]

  /// The keys of the plan's data section, and of a phase's, which wins.
  private static func data(under path: String) -> [PlanKey] {
    let outer = path == "data" ? nil : "as data"
    let own = source(
      under: path, unset: outer ?? "world", seed: outer ?? "seed", documents: outer ?? "10000")
    let mixed = source(
      under: "\(path).mixture[]", unset: "required", seed: "data.seed, or seed",
      documents: "data.documents, or 10000")
    return [
      PlanKey(path, .section, unset: outer ?? "the generated world", "Where text comes from.")
    ] + own + [
      PlanKey(
        "\(path).mixture", .sections, unset: outer ?? "source alone",
        "In place of source: several, read in the proportion of their weights.")
    ] + mixed + [
      PlanKey(
        "\(path).mixture[].weight", .number(1e-6...1e6), unset: "1",
        "How much is read of it, against the weights of the others."),
      PlanKey(
        "\(path).split", .split, unset: outer ?? "tail 0.1",
        "Held back for validation: the last fraction of the bytes, or documents by hash."),
      PlanKey(
        "\(path).order",
        .choice(ResolvedPlan.DataChoice.Order.allCases.map(\.rawValue)),
        unset: outer ?? "shuffled",
        "Packed windows permuted each epoch, or windows at random offsets."),
      PlanKey(
        "\(path).attention",
        .choice(ResolvedPlan.DataChoice.Attention.allCases.map(\.rawValue)),
        unset: outer ?? "window", "Whether a token sees its window or only its own document."),
    ]
  }

  /// The keys that say what a source is.
  private static func source(
    under path: String, unset: String, seed: String, documents: String
  ) -> [PlanKey] {
    [
      PlanKey(
        "\(path).source", .text, unset: unset,
        "\"world\" (generated, needs no file), or a file or folder of text."),
      PlanKey("\(path).seed", .seed, unset: seed, "Of the generated world."),
      PlanKey(
        "\(path).documents", .integer(1...100_000_000), unset: documents,
        "Documents of the generated world."),
    ]
  }

  private static let phase =
    [
      PlanKey("phases", .sections, unset: "tokenizer, pretrain", "Run in order."),
      PlanKey(
        "phases[].kind", .choice(ResolvedPlan.Phase.Kind.allCases.map(\.rawValue)),
        unset: "required", "What the phase does."),
      PlanKey("phases[].name", .name, unset: "its kind", "Names its checkpoints; unique."),
      PlanKey(
        "phases[].steps", .integer(0...1_000_000_000),
        unset: "20 tokens per parameter; anneal: a tenth of the steps before it; sft, reward, dpo: "
          + "as examples.epochs needs, or 200; ppo, grpo: as their iterations need",
        "Optimizer steps."),
    ] + data(under: "phases[].data") + [
      PlanKey(
        "phases[].schedule", .section,
        unset: "cosine; anneal: linear from the rate before it to 0", "The learning rate."),
      PlanKey(
        "phases[].schedule.kind",
        .choice(ResolvedPlan.Schedule.Kind.allCases.map(\.rawValue)), unset: "cosine",
        "How the rate falls after warm-up."),
      PlanKey(
        "phases[].schedule.peak", .number(0...10),
        unset: "0.001 x sqrt(384 / width); sft of all weights, reward: a fifth of it; "
          + "ppo, dpo, grpo: a fiftieth",
        "The highest rate."),
      PlanKey(
        "phases[].schedule.final", .number(0...10), unset: "peak / 10",
        "What the rate falls to: the step after the last would have it."),
      PlanKey(
        "phases[].schedule.warmup", .integer(0...1_000_000_000), unset: "steps / 20, at most 500",
        "Steps in which the rate rises from 0 to peak."),
      PlanKey(
        "phases[].schedule.decay", .integer(0...1_000_000_000), unset: "wsd: steps / 5, else 0",
        "Last steps, in which wsd falls to final."),
      PlanKey(
        "phases[].validation", .section, unset: "ten times a phase", "Loss on held-back text."),
      PlanKey(
        "phases[].validation.every", .integer(0...1_000_000_000), unset: "steps / 10, rounded up",
        "Steps between validations; 0: only at the end."),
      PlanKey(
        "phases[].validation.tokens", .tokenLimit, unset: "65536",
        "Most tokens a validation inside the phase reads, evenly spaced."),
      PlanKey(
        "phases[].validation.full_at_end", .boolean, unset: "true",
        "Whether the one at the end of the phase reads everything."),
    ]

  private static let tuning = [
    PlanKey(
      "phases[].examples", .section, unset: "4000 of the generated world",
      "What sft, reward, dpo, ppo and grpo read."),
    PlanKey(
      "phases[].examples.epochs", .integer(1...1000), unset: "as often as steps has it",
      "How often sft, reward and dpo read each example, in place of steps."),
    PlanKey(
      "phases[].examples.count", .integer(2...100_000_000), unset: "4000",
      "Examples of the generated world."),
    PlanKey(
      "phases[].examples.agreement", .number(0...1), unset: "1",
      "How often the generated world's preferences follow its rule; people agree in 0.66."),
    PlanKey(
      "phases[].examples.strict", .boolean, unset: "false",
      "Whether a row that cannot be read ends the run; otherwise it is counted and passed over."),
    PlanKey(
      "phases[].lora", .section, unset: "all weights are trained",
      "Makes sft train low-rank adapters beside frozen weights; { } takes the defaults."),
    PlanKey(
      "phases[].lora.rank", .integer(1...65536), unset: "8",
      "Rows of A and columns of B; at most the smaller side of a target."),
    PlanKey(
      "phases[].lora.alpha", .number(1e-6...1e6), unset: "2 x rank",
      "The product B A counts alpha / rank."),
    PlanKey(
      "phases[].lora.targets", .choices(AdapterTarget.allCases.map(\.rawValue)), unset: "all",
      "Matrices of every layer that get an adapter."),
    PlanKey(
      "phases[].starts_from", .choice(ResolvedPlan.Start.allCases.map(\.rawValue)),
      unset: "policy",
      "What ppo, dpo and grpo begin with: the policy of the phase before, or its reference."),
    PlanKey(
      "phases[].preference", .section, unset: "DPO",
      "Which pairs reward and dpo learn from, and the objective of dpo."),
    PlanKey(
      "phases[].preference.pairs",
      .choice(ResolvedPlan.Preference.Pairs.allCases.map(\.rawValue)), unset: "given",
      "Pairs of the data, or answers of the policy as the judge ranks them, two and two."),
    PlanKey(
      "phases[].preference.loss",
      .choice(ResolvedPlan.Preference.Loss.allCases.map(\.rawValue)), unset: "sigmoid",
      "\"sigmoid\" is DPO, \"identity\" IPO."),
    PlanKey(
      "phases[].preference.beta", .number(1e-6...1000), unset: "0.1",
      "How dear it is to leave the reference."),
    PlanKey(
      "phases[].preference.label_smoothing", .number(0...0.5), unset: "0",
      "Share of labels that are taken to be wrong; sigmoid only."),
    PlanKey(
      "phases[].preference.length_normalized", .boolean, unset: "false",
      "Whether log-probabilities are means over an answer's tokens, not sums."),
    PlanKey(
      "phases[].reinforcement", .section, unset: "as PPO or GRPO",
      "How ppo, grpo, and reward and dpo on sampled pairs, learn from the policy's own answers."),
    PlanKey(
      "phases[].reinforcement.judge",
      .choice(ResolvedPlan.Reinforcement.Judge.allCases.map(\.rawValue)),
      unset: "ppo, dpo: model, grpo, reward: rule",
      "Who scores an answer: the reward model, or a rule that knows the right one."),
    PlanKey(
      "phases[].reinforcement.iterations", .integer(1...1_000_000), unset: "20",
      "Rounds of answers."),
    PlanKey(
      "phases[].reinforcement.prompts", .integer(1...1_048_576),
      unset: "4 x batch.sequences / answers", "Prompts of a round; slices divide them."),
    PlanKey(
      "phases[].reinforcement.answers", .integer(1...4096),
      unset: "ppo: 1, reward, dpo: 2, grpo: 4",
      "Answers to each prompt."),
    PlanKey(
      "phases[].reinforcement.answer_tokens", .integer(1...ModelShape.sequenceLengthMax),
      unset: "context / 4", "Most tokens of an answer, its end included."),
    PlanKey(
      "phases[].reinforcement.temperature", .number(0.01...10), unset: "1",
      "What logits are divided by before an answer's tokens are drawn."),
    PlanKey(
      "phases[].reinforcement.epochs", .integer(1...1000), unset: "ppo: 2, others: 1",
      "How often a round's answers are learned from."),
    PlanKey(
      "phases[].reinforcement.beta", .number(0...100), unset: "0.05",
      "How dear it is to leave the reference; ppo and grpo, dpo has its own in preference."),
    PlanKey(
      "phases[].reinforcement.clip", .number(0.001...10), unset: "0.2",
      "How far the ratio to the policy that answered counts; ppo and grpo."),
    PlanKey(
      "phases[].reinforcement.value_clip", .number(0.001...1e6), unset: "0.2",
      "How far a value may move from what it was; ppo only."),
    PlanKey(
      "phases[].reinforcement.gamma", .number(0...1), unset: "1",
      "What a later reward is worth; ppo only."),
    PlanKey(
      "phases[].reinforcement.lambda", .number(0...1), unset: "0.95",
      "How far generalized advantages look ahead; ppo only."),
    PlanKey(
      "phases[].reinforcement.missing_end_penalty", .number(0...1000), unset: "1",
      "Taken off the score of an answer that was cut before its end."),
    PlanKey(
      "phases[].gates", .section, unset: "none", "What ends the phase before its last step."),
    PlanKey(
      "phases[].gates.validation_loss", .number(0...1000), unset: "none",
      "A validation's loss of at most this."),
    PlanKey(
      "phases[].gates.reward", .number(-1000...1000), unset: "none",
      "A mean reward of at least this."),
    PlanKey(
      "phases[].gates.divergence", .number(0...1000), unset: "none",
      "A policy farther than this from the reference, nats per token."),
    PlanKey(
      "phases[].gates.length", .number(0...1_000_000), unset: "none",
      "A mean answer longer than this, tokens."),
    PlanKey(
      "phases[].gates.entropy", .number(0...1000), unset: "none",
      "A policy whose entropy is under this, nats per token."),
    PlanKey(
      "phases[].brakes", .section, unset: "none",
      "What makes the steps of a phase that samples smaller."),
    PlanKey(
      "phases[].brakes.divergence", .number(1e-6...1000), unset: "none",
      "Beyond this distance from the reference, nats per token, the rate falls in proportion."),
    PlanKey(
      "phases[].brakes.length", .number(1e-6...1_000_000), unset: "none",
      "Beyond this mean length, tokens, the rate falls in proportion."),
    PlanKey(
      "phases[].brakes.entropy", .number(1e-6...1000), unset: "none",
      "Under this entropy, nats per token, the rate falls in proportion."),
  ]

  private static let cadence = [
    PlanKey("checkpoints", .section, unset: "every 100 steps", "Saved state."),
    PlanKey(
      "checkpoints.every", .integer(0...1_000_000_000), unset: "100",
      "Steps between checkpoints; 0: only at the end of a phase."),
    PlanKey("checkpoints.keep", .integer(1...1_000_000), unset: "3",
      "How many are kept, besides the last of each phase."),
    PlanKey(
      "origins", .ignored, unset: "none",
      "Written into plan.resolved.json: where each value came from."),
  ]

  /// The reference page's table, in Markdown.
  public static var markdown: String {
    let rows = keys.map { "| `\($0.path)` | \($0.expectation) | \($0.unset) | \($0.help) |" }
    return (["| Key | Value | Left out | Meaning |", "|---|---|---|---|"] + rows)
      .joined(separator: "\n") + "\n"
  }
}

extension ResolvedPlan.DataChoice.Split {
  /// Reads `"tail 0.1"` or `"documents 0.1"`.
  init?(text: String) {
    let words = text.split(separator: " ")
    guard words.count == 2, let fraction = Double(words[1]), (0.0001...0.9).contains(fraction)
    else { return nil }
    switch words[0] {
    case "tail": self = .tail(fraction)
    case "documents": self = .documents(fraction)
    default: return nil
    }
  }

  /// Of the text: what is held back.
  public var fraction: Double {
    switch self {
    case .tail(let fraction), .documents(let fraction): fraction
    }
  }

  var text: String {
    switch self {
    case .tail(let fraction): "tail \(numberText(fraction))"
    case .documents(let fraction): "documents \(numberText(fraction))"
    }
  }
}
