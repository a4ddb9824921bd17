internal import Operators
internal import Settings
internal import System
internal import Tensors

/// `cox bench`: what this machine does, measured.
enum BenchCommand {
  static let command = Command(
    "bench",
    overview: "Measures a training step, its parts, the exchange of gradients, or generation.",
    subcommands: [
      Command(
        "step", overview: "Measures a worker's training step on a shape.",
        discussion: """
          Runs forward, backward, sums, norm, clip, AdamW and packing as a run with one worker
          does, on text of the generated world. The first two steps are not timed. After the last
          one the digest equals that of `cox up` on the plan that --print-plan prints. The shape has
          a micro-batch of its own; with --context, --sequences or --slices it is chosen as for any
          plan.
          """,
        options: engineOptions + [
          .option(
            "accumulate", "factor", .integer(1...1024), default: "1",
            help: "Times the shape's sequences in a step."),
          .option(
            "context", "tokens", .integer(1...1 << 20),
            help: "Of a sequence. (default: the shape's)"),
          .option(
            "sequences", "count", .integer(1...1 << 20),
            help: "In a step, before --accumulate. (default: the shape's)"),
          .option(
            "slices", "count", .integer(1...1024), default: "4", help: "Of a step's sequences."),
          .option("steps", "count", .integer(1...100_000), default: "10", help: "Steps in all."),
          .option(
            "without", "fusions",
            help: "What to compute operator by operator, with commas: "
              + Fusion.allCases.map(\.rawValue).joined(separator: ",") + ", or all."),
          .flag("breakdown", help: "Say where the time goes."),
          .flag("print-plan", help: "Print the plan that this is a step of, and stop."),
          json,
        ]),
      Command(
        "matmul", overview: "Measures every product of a shape, and the packing around it.",
        options: engineOptions + [rounds, json]),
      Command(
        "attention", overview: "Measures attention of one layer, forward and backward.",
        discussion: """
          A micro-batch of the shape, causal. Counted are the 2 products of the forward and the 4 of
          the backward pass, over the pairs of tokens that see each other; the scores that the
          backward pass computes again are not.
          """,
        options: engineOptions + [rounds, json]),
      Command(
        "decode", overview: "Measures how fast texts grow whose keys and values are cached.",
        discussion: """
          The code of `cox generate` on weights of one value. A token of every text reads all
          weights once, and the text's own cache; the rate is set against that of a sum over as
          many bytes.
          """,
        options: engineOptions + DecodeBench.options + [json]),
      Command(
        "optimizer", overview: "Measures the update of all weights, packing included.",
        discussion: """
          Beside it, in turn, a probe over the same memory that reads weights, moments and gradient,
          writes weights and moments and as many bytes as the packed forms have, and computes next
          to nothing: of_probe is what the update reaches of its bandwidth.
          """,
        options: engineOptions + [rounds, json]),
      Command(
        "rollout", overview: "Measures how fast answers are drawn for many prompts at once.",
        discussion: """
          Random weights, temperature 1, the log-probability of every token; prompts are read within
          the time. tokens_per_s counts the tokens that were drawn, share_by tells what the time
          went to.
          """,
        options: engineOptions + RolloutBench.options + [json]),
      Command(
        "allreduce", overview: "Measures the sum of gradients over loopback.",
        discussion: """
          Every worker is a thread with connections of its own. As workers of one machine do, each
          copies from the others' memory what they lend it, or with --no-lending gets it over TCP.
          Bandwidths are those that nccl-tests define: algbw = bytes / seconds, busbw = algbw x
          2 (n - 1) / n. Core-seconds are those of all workers for each GB that they send together.
          """,
        options: [
          .option(
            "workers", "count", .integer(2...32), default: "2", help: "Ranks that take part."),
          .option(
            "bytes", "count", .integer(64...1 << 32), default: "67108864",
            help: "Bytes that every rank adds."),
          .option(
            "rounds", "count", .integer(1...100_000), default: "10", help: "Sums that are timed."),
          .option(
            "congestion", "name", default: "cubic", help: "TCP congestion control."),
          .flag("no-lending", help: "Everything travels over TCP."),
          json,
        ]),
    ])

  /// - Throws: What the plan, the corpus or the network refuse.
  static func run(_ invocation: Invocation) throws -> Int32 {
    let isJSON = invocation.has("json")
    func show(_ figures: [(String, JSONNode)]) { print(figures, asJSON: isJSON) }
    func setup() throws -> BenchSetup {
      try BenchSetup(invocation, rounds: invocation.integer("rounds") ?? 7)
    }
    switch invocation.path.last {
    case "step": try StepBench.run(invocation)
    case "matmul": MatmulBench.run(try setup(), asJSON: isJSON)
    case "attention": show(AttentionBench(setup: try setup()).measure())
    case "decode": show(try DecodeBench(invocation).measure())
    case "optimizer": show(OptimizerBench(setup: try setup()).measure())
    case "rollout": show(try RolloutBench(invocation).measure())
    case "allreduce": show(try AllReduceBench(invocation).measure())
    default: preconditionFailure("no measurement is called '\(invocation.command)'")
    }
    return 0
  }

  private static let rounds = CommandOption.option(
    "rounds", "count", .integer(1...10_000), default: "7",
    help: "How often each is measured; the median counts.")

  private static let json = CommandOption.flag("json", help: "Print one JSON object.")

  private static let engineOptions: [CommandOption] = [
    .option(
      "shape", "name", .choice(ModelPreset.allCases.map(\.rawValue)), default: "small",
      help: "Sizes: tiny, small, medium or gpt2."),
    .option(
      "threads", "count", .integer(1...4096),
      help: "Compute threads. (default: the processors this process may use)"),
    .option(
      "precision", "name", .choice(Precision.allCases.map(\.rawValue)), default: "bf16",
      help: "What operands of products are rounded to."),
    .option(
      "kernels", "variant",
      help: "scalar, avx2, avx512, avx512bf16 or neon. (default: the best there is)"),
    .matmul,
    .flag("pin", help: "Keep each thread on one processor."),
  ]

  /// The shape that the options name.
  static func shape(_ invocation: Invocation) -> ModelPreset {
    invocation.text("shape").flatMap(ModelPreset.init(rawValue:)) ?? .small
  }

  static func precision(_ invocation: Invocation) -> Precision {
    invocation.text("precision").flatMap(Precision.init(rawValue:)) ?? .bf16
  }

  /// The fusions that the option `without` names.
  static func apart(_ invocation: Invocation) throws -> Set<Fusion> {
    guard let text = invocation.text("without") else { return [] }
    if text == "all" { return Set(Fusion.allCases) }
    return Set(
      try text.split(separator: ",", omittingEmptySubsequences: false).map { name in
        guard let fusion = Fusion(rawValue: String(name)) else {
          let names = Fusion.allCases.map(\.rawValue).joined(separator: ", ")
          throw PlainError("there is no fusion '\(name)'; there are \(names), or all", .usage)
        }
        return fusion
      })
  }

  /// Kernels and threads as the options ask for them.
  static func engine(
    _ invocation: Invocation, times: OperatorTimes? = nil, apart: Set<Fusion> = []
  ) throws -> Engine {
    var variant = KernelVariant.best
    if let name = invocation.text("kernels") {
      guard let found = KernelVariant(named: name) else {
        let names = KernelVariant.available.map(\.name).joined(separator: ", ")
        throw PlainError(
          "this processor cannot run kernels '\(name)'; it has \(names)", .usage)
      }
      variant = found
    }
    let threadCount = invocation.integer("threads") ?? max(1, allowedProcessors().count)
    return Engine(
      team: ThreadTeam(memberCount: threadCount, pinned: invocation.has("pin")),
      variant: variant, precision: precision(invocation),
      matmul: try chosenBackend(invocation.matmul, variant), times: times, apart: apart)
  }

  /// Prints the figures: as JSON, or one to a line.
  static func print(_ figures: [(String, JSONNode)], asJSON: Bool) {
    if asJSON {
      writeText(JSONNode.object(figures).jsonText(isIndented: false) + "\n", to: 1)
      return
    }
    let width = figures.map(\.0.count).max() ?? 0
    for (name, value) in figures {
      let blank = String(repeating: " ", count: width - name.count)
      writeText("\(name)\(blank)  \(value.jsonText(isIndented: false))\n", to: 1)
    }
  }

  /// A figure with `digits` decimals.
  static func rounded(_ number: Double, _ digits: Int) -> JSONNode {
    let scale = (0..<digits).reduce(1.0) { power, _ in power * 10 }
    return .decimal((number * scale).rounded() / scale)
  }

  /// - Precondition: There is at least one number.
  static func median(_ numbers: [Double]) -> Double {
    let sorted = numbers.sorted()
    let middle = sorted.count / 2
    return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
  }
}
