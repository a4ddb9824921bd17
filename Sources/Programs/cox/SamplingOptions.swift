import Evaluation
import Settings

/// How commands that write text draw its tokens.
enum SamplingOptions {
  static let all: [CommandOption] = [
    .option(
      "max-tokens", "count", .integer(1...1_000_000), default: "100", help: "Longest text."),
    .option(
      "temperature", "value", .number(0...100), default: "0.8",
      help: "0 always takes the likeliest token."),
    .option(
      "top-p", "value", .number(0.001...1), default: "0.95", help: "Share of likelier tokens."),
    .option("seed", "number", .integer(0...Int.max), default: "1", help: "Seed of the draws."),
  ]

  /// The sampler of text `index` of a command.
  static func sampler(_ index: Int, _ invocation: Invocation) -> Sampler {
    Sampler(
      temperature: invocation.number("temperature") ?? 0.8,
      topP: invocation.number("top-p") ?? 0.95,
      seed: UInt64(invocation.integer("seed") ?? 1) &+ UInt64(index))
  }

  static func tokenLimit(_ invocation: Invocation) -> Int {
    invocation.integer("max-tokens") ?? 100
  }
}
