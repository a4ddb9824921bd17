internal import Settings
internal import System

extension DataCommands {
  /// How many examples of the generated world to write, and how well their labels are.
  public struct WorldExamples: Sendable {
    public var seed: UInt64
    public var conversationCount: Int
    public var pairCount: Int
    /// How often a pair's label follows the rule, 0 to 1.
    public var agreement: Double

    public init(seed: UInt64, conversationCount: Int, pairCount: Int, agreement: Double) {
      precondition(conversationCount >= 0 && pairCount >= 0, "counts are not negative")
      precondition((0...1).contains(agreement), "an agreement of \(agreement)")
      self.seed = seed
      self.conversationCount = conversationCount
      self.pairCount = pairCount
      self.agreement = agreement
    }

    /// Writes `conversations.jsonl`, `pairs.jsonl` and, with the questions that neither of them
    /// asks, `unseen.jsonl`; returns their paths.
    ///
    /// A folder of their own: whoever trains on documents must not read these.
    ///
    /// - Throws: ``CorpusError/system(_:)``.
    public func write(to directory: String) throws(CorpusError) -> [String] {
      let world = World(seed: seed)
      let files = [
        ("conversations", (0..<conversationCount).map { conversation(world.talk($0)) }),
        ("pairs", (0..<pairCount).map { pair(world.pair($0, agreement: agreement)) }),
        ("unseen", world.unseenQuestions.map(\.asked.row)),
      ]
      do {
        try Files.createDirectory(directory)
        return try files.map { (name, rows) throws(SystemError) in
          let path = "\(directory)/\(name).jsonl"
          let lines = rows.map { $0.jsonText(isIndented: false) + "\n" }
          try Files.write(lines.joined(), to: path)
          return path
        }
      } catch {
        throw .system(error)
      }
    }

    private func conversation(_ talk: [World.Exchange]) -> JSONNode {
      .object([("messages", messages(of: Conversation(talk)))])
    }

    private func messages(of conversation: Conversation) -> JSONNode {
      .list(
        conversation.messages.map { message in
          .object([
            ("role", .text(message.role.rawValue)), ("content", .text(message.content)),
          ])
        })
    }

    /// The prompt is a text where nothing was said before.
    private func pair(_ pair: World.Pair) -> JSONNode {
      let row = PreferencePair(pair)
      return .object([
        ("prompt", pair.earlier.isEmpty ? .text(pair.question.text) : messages(of: row.prompt)),
        ("chosen", .text(row.chosen)), ("rejected", .text(row.rejected)),
      ])
    }
  }
}
