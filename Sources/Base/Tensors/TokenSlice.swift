/// The sequences of one slice of a step (or of a validation), as the coordinator serves them.
public struct TokenSlice: Equatable, Sendable {
  /// One window of text.
  public struct Sequence: Equatable, Sendable {
    /// `[T + 1]` ids at most: position `i` reads token `i` and predicts token `i + 1`.
    public var tokens: [UInt32]
    /// `[T]`: whether position `i`'s prediction counts. Its count is the sequence's length.
    public var isTarget: [Bool]
    /// Ascending, starts with 0: where attention may not look back past. One element (0) for
    /// `attention: window`; the document starts inside the window for `attention: document`.
    public var segmentStarts: [UInt32]
    /// Index of the example among those of its data; ``noRow`` where the window is none.
    public var row: UInt32
    /// Whether the two answers of the row are worth the same.
    public var isTie: Bool

    /// The ``row`` of running text, and of windows with several examples.
    public static let noRow = UInt32.max

    public init(
      tokens: [UInt32], isTarget: [Bool], segmentStarts: [UInt32] = [0], row: UInt32 = noRow,
      isTie: Bool = false
    ) {
      precondition(
        tokens.count == isTarget.count + 1,
        "\(tokens.count) tokens do not predict \(isTarget.count) targets")
      self.tokens = tokens
      self.isTarget = isTarget
      self.segmentStarts = segmentStarts
      self.row = row
      self.isTie = isTie
    }

    /// Positions, that is tokens read.
    public var count: Int { isTarget.count }

    /// With a position that reads the last token, where there is room for it.
    public func readToEnd(sequenceLength: Int) -> Self {
      guard count < sequenceLength, let last = tokens.last else { return self }
      var longer = self
      longer.tokens.append(last)
      longer.isTarget.append(false)
      return longer
    }
  }

  public var sequences: [Sequence]

  public init(sequences: [Sequence]) { self.sequences = sequences }

  /// Tokens read.
  public var positionCount: Int { sequences.reduce(0) { $0 + $1.count } }

  /// Every sequence ``Sequence/readToEnd(sequenceLength:)``.
  public func readToEnd(sequenceLength: Int) -> Self {
    Self(sequences: sequences.map { $0.readToEnd(sequenceLength: sequenceLength) })
  }

  /// Predictions that count.
  public var targetCount: Int {
    sequences.reduce(0) { $0 + $1.isTarget.count(where: { $0 }) }
  }
}

/// What a slice adds to a step's statistics: summed over slices along the slice tree.
public struct SliceStatistics: Equatable, Sendable {
  /// What the loss is a mean over: valid targets; pairs in a phase that learns from pairs.
  public var tokenCount: Int64
  /// Sum of their losses, nats.
  public var lossSum: Double
  /// Other sums of the phase; what each is, the phase says.
  public var measures: SIMD16<Double>

  public init(tokenCount: Int64, lossSum: Double, measures: SIMD16<Double> = .zero) {
    self.tokenCount = tokenCount
    self.lossSum = lossSum
    self.measures = measures
  }

  public static func + (left: SliceStatistics, right: SliceStatistics) -> SliceStatistics {
    SliceStatistics(
      tokenCount: left.tokenCount + right.tokenCount, lossSum: left.lossSum + right.lossSum,
      measures: left.measures + right.measures)
  }
}
