internal import Operators
internal import Tensors
public import Transformer

/// Continues texts, many at a time, with keys and values cached.
///
/// A text's continuation does not depend on what is generated beside it.
public final class Generator {
  public let decoder: StreamDecoder
  private let idCount: Int

  /// - Parameters:
  ///   - decoder: Its row capacity bounds the texts that are computed at once.
  ///   - idCount: Ids that the tokenizer has: later rows of the model's vocabulary are never drawn.
  ///     All rows unless given.
  public init(decoder: StreamDecoder, idCount: Int? = nil) {
    let rowCount = decoder.weights.layout.shape.vocabularySize
    precondition((1...rowCount).contains(idCount ?? rowCount), "\(idCount ?? 0) of \(rowCount) ids")
    self.decoder = decoder
    self.idCount = idCount ?? rowCount
  }

  /// One text to continue.
  public struct Request: Equatable, Sendable {
    /// At least one token, and fewer than the model's sequence length.
    public var prompt: [UInt32]
    public var sampler: Sampler
    /// Most tokens to add.
    public var tokenLimit: Int
    /// Tokens that end the text; the one that does is part of the result.
    public var stopTokens: Set<UInt32>

    public init(
      prompt: [UInt32], sampler: Sampler, tokenLimit: Int, stopTokens: Set<UInt32> = []
    ) {
      self.prompt = prompt
      self.sampler = sampler
      self.tokenLimit = tokenLimit
      self.stopTokens = stopTokens
    }
  }

  /// Why a text ended.
  public enum Ending: String, Equatable, Sendable { case stopToken, tokenLimit, sequenceLength }

  public struct Continuation: Equatable, Sendable {
    public var tokens: [UInt32]
    /// ln p of each token under the model itself, whatever the sampler made of it, nats; with the
    /// bits of the training forward. Empty unless asked for.
    public var logProbabilities: [Double] = []
    public var ending: Ending
  }

  /// A text under way.
  private struct Open {
    let index: Int
    let stream: DecoderStream
    var pending: [UInt32]
  }

  /// Continues every request, as many at once as the decoder has rows.
  ///
  /// - Parameters:
  ///   - givesLogProbabilities: Whether continuations carry those of their tokens.
  ///   - onToken: Gets each token as it is drawn, with the index of its request.
  public func generate(
    _ requests: [Request], givesLogProbabilities: Bool = false,
    onToken: (_ request: Int, _ token: UInt32) -> Void = { _, _ in }
  ) -> [Continuation] {
    var results = requests.map { _ in Continuation(tokens: [], ending: .tokenLimit) }
    var waiting = requests.indices.filter { requests[$0].tokenLimit > 0 }[...]
    var open: [Open] = []
    while !waiting.isEmpty || !open.isEmpty {
      while open.count < decoder.rowCapacity, let index = waiting.popFirst() {
        open.append(prefill(requests[index].prompt, index))
      }
      let logits = decoder.feed(open.map { ($0.stream, $0.pending) })
      let drawn = open.indices.map { row in
        let index = open[row].index
        return requests[index].sampler.next(
          logits[row][0..<idCount], index: results[index].tokens.count)
      }
      let found = givesLogProbabilities ? decoder.logProbabilities(of: drawn) : []
      var stillOpen: [Open] = []
      for (row, text) in open.enumerated() {
        let request = requests[text.index]
        let token = drawn[row]
        results[text.index].tokens.append(token)
        if givesLogProbabilities { results[text.index].logProbabilities.append(found[row]) }
        onToken(text.index, token)
        let length = text.stream.tokenCount
        if let ending = ending(request, results[text.index].tokens, length) {
          results[text.index].ending = ending
        } else {
          stillOpen.append(Open(index: text.index, stream: text.stream, pending: [token]))
        }
      }
      open = stillOpen
    }
    return results
  }

  /// A stream that has seen all of the prompt but its last token.
  private func prefill(_ prompt: [UInt32], _ index: Int) -> Open {
    precondition(!prompt.isEmpty, "request \(index) has an empty prompt")
    let stream = decoder.makeStream()
    var rest = prompt.dropLast()
    while !rest.isEmpty {
      let portion = Array(rest.prefix(decoder.rowCapacity))
      _ = decoder.feed([(stream, portion)])
      rest = rest.dropFirst(portion.count)
    }
    return Open(index: index, stream: stream, pending: [prompt[prompt.count - 1]])
  }

  private func ending(_ request: Request, _ tokens: [UInt32], _ length: Int) -> Ending? {
    if let last = tokens.last, request.stopTokens.contains(last) { return .stopToken }
    if tokens.count >= request.tokenLimit { return .tokenLimit }
    return length >= decoder.weights.layout.shape.sequenceLength ? .sequenceLength : nil
  }
}
