internal import Tensors
public import Transformer

/// Continues texts, many at a time, with keys and values cached.
///
/// A text's continuation does not depend on what is generated beside it. A text that ends leaves
/// its place, and the memory of its keys and values, to the next one at once. Not reentrant.
public final class Generator {
  public let decoder: StreamDecoder
  private let idCount: Int
  /// Streams whose texts have ended.
  private var spares: [DecoderStream] = []

  /// - Parameters:
  ///   - decoder: Its stream capacity bounds the texts that are computed at once.
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
  public enum Ending: String, Equatable, Sendable {
    case stopToken, tokenLimit, sequenceLength, cancelled
  }

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
    /// Tokens that the stream has not seen: what is left of the prompt, or the last one drawn.
    var pending: ArraySlice<UInt32>
  }

  /// Continues every request, as many at once as the decoder takes streams.
  ///
  /// - Parameters:
  ///   - givesLogProbabilities: Whether continuations carry those of their tokens.
  ///   - onToken: Gets each token as it is drawn, with the index of its request.
  ///   - isCancelled: Asked between tokens; ends all texts as they are.
  public func generate(
    _ requests: [Request], givesLogProbabilities: Bool = false,
    onToken: (_ request: Int, _ token: UInt32) -> Void = { _, _ in },
    isCancelled: () -> Bool = { false }
  ) -> [Continuation] {
    var results = requests.map { _ in Continuation(tokens: [], ending: .tokenLimit) }
    var waiting = requests.indices.filter { requests[$0].tokenLimit > 0 }[...]
    var open: [Open] = []
    while !waiting.isEmpty || !open.isEmpty {
      if isCancelled() {
        for index in open.map(\.index) + waiting { results[index].ending = .cancelled }
        spares += open.map(\.stream)
        return results
      }
      while open.count < decoder.streamCapacity, let index = waiting.popFirst() {
        open.append(begin(requests[index].prompt, index))
      }
      feed(&open)
      let drawn = decoder.draw(
        open.map { requests[$0.index].sampler.draw(at: results[$0.index].tokens.count) },
        idCount: idCount)
      let found = givesLogProbabilities ? decoder.logProbabilities(of: drawn) : []
      // A text whose prompt is not read to its end has no use for its draw yet.
      for row in open.indices where open[row].pending.isEmpty {
        let (index, token) = (open[row].index, drawn[row])
        results[index].tokens.append(token)
        if givesLogProbabilities { results[index].logProbabilities.append(found[row]) }
        onToken(index, token)
        if let ending = ending(
          requests[index], results[index].tokens, open[row].stream.tokenCount)
        {
          results[index].ending = ending
          spares.append(open[row].stream)
        } else {
          open[row].pending = [token]
        }
      }
      open.removeAll { $0.pending.isEmpty }
    }
    return results
  }

  private func begin(_ prompt: [UInt32], _ index: Int) -> Open {
    precondition(!prompt.isEmpty, "request \(index) has an empty prompt")
    let stream = spares.popLast() ?? decoder.makeStream()
    stream.reset()
    return Open(index: index, stream: stream, pending: prompt[...])
  }

  /// Feeds each text what it has pending: one token at least, of prompts as many as there are rows.
  private func feed(_ open: inout [Open]) {
    var spareRows = decoder.rowCapacity - open.count
    let portions = open.indices.map { row in
      let portion = Array(open[row].pending.prefix(1 + spareRows))
      open[row].pending.removeFirst(portion.count)
      spareRows -= portion.count - 1
      return (stream: open[row].stream, tokens: portion)
    }
    _ = decoder.feed(portions)
  }

  private func ending(_ request: Request, _ tokens: [UInt32], _ length: Int) -> Ending? {
    if let last = tokens.last, request.stopTokens.contains(last) { return .stopToken }
    if tokens.count >= request.tokenLimit { return .tokenLimit }
    return length >= decoder.weights.layout.shape.sequenceLength ? .sequenceLength : nil
  }
}
