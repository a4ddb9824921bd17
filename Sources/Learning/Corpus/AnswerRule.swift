/// Tells right answers from wrong ones, and scores them for reinforcement.
///
///     score = [right] - min(words, 20) / 40
///
/// So right beats wrong, then short beats long: a word costs a fortieth, and no length costs more
/// than half of what being right is worth. An answer that is not UTF-8 is wrong, an empty one too.
public struct AnswerRule: Sendable {
  private enum Kind: Sendable {
    case world(World, exampleCount: Int, unseen: [World.Question])
    case match
  }
  private let kind: Kind

  /// Right is what answers the world's question of the row.
  ///
  /// - Parameter exampleCount: Of the data that the rows are of: their rows from there on are
  ///   ``World/unseenQuestions``.
  public static func world(_ world: World, exampleCount: Int) -> AnswerRule {
    AnswerRule(
      kind: .world(world, exampleCount: exampleCount, unseen: world.unseenQuestions))
  }

  /// Right is what holds the words of the expected answer, one after the other.
  public static let match = AnswerRule(kind: .match)

  /// - Parameters:
  ///   - row: The example that is answered. One that the data do not have is never right.
  ///   - answer: As generated, without special tokens.
  ///   - expected: As the data have it; empty where they have none.
  public func isRight(row: UInt32, answer: [UInt8], expected: [UInt8]) -> Bool {
    guard let answer = String(validating: answer, as: UTF8.self) else { return false }
    switch kind {
    case .match: return AnswerWords(answer).hold(String(decoding: expected, as: UTF8.self))
    case .world(let world, let exampleCount, let unseen):
      let row = Int(row)
      if row < exampleCount { return world.question(row).isRight(answer) }
      let place = row - exampleCount
      return place < unseen.count && unseen[place].isRight(answer)
    }
  }

  /// - Parameters: As ``isRight(row:answer:expected:)``.
  public func score(row: UInt32, answer: [UInt8], expected: [UInt8]) -> Double {
    AnswerWords(String(decoding: answer, as: UTF8.self))
      .score(isRight: isRight(row: row, answer: answer, expected: expected))
  }
}

/// The words of an answer: runs of letters and digits.
struct AnswerWords {
  private let words: [Substring]

  init(_ text: String) {
    words = text.split { !$0.isLetter && !$0.isNumber }
  }

  /// Whether the words of `key` stand in it, one after the other; never if `key` has none.
  func hold(_ key: String) -> Bool {
    let part = AnswerWords(key).words
    guard !part.isEmpty, part.count <= words.count else { return false }
    return (0...words.count - part.count).contains {
      words[$0..<$0 + part.count].elementsEqual(part)
    }
  }

  func score(isRight: Bool) -> Double {
    (isRight ? 1 : 0) - Double(min(words.count, 20)) / 40
  }
}
