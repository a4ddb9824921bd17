public import Tensors

/// Where a run stands: everything a checkpoint holds besides weights, moments and the tokenizer.
///
/// Saved as `state.json`, keys in snake_case.
public struct CheckpointState: Codable, Equatable, Sendable {
  /// The run's name.
  public var run: String
  /// Index of the phase in the plan.
  public var phaseIndex: Int
  public var phaseName: String
  /// Steps of the phase that were taken; also the index of the next one.
  public var step: Int
  /// Operations of the plan's program (steps and validations, all phases) that were done.
  public var position: Int
  /// Steps of the learning-rate schedule that were taken.
  public var schedulePosition: Int
  /// Real tokens trained on since the run began, all phases.
  public var tokensTotal: UInt64
  /// Sequences the phase has drawn from its data: where the next batch starts.
  public var dataCursor: UInt64
  /// Name of the numeric profile; the run goes on only under the same one.
  public var profile: String
  public var model: ModelShape

  public init(
    run: String, phaseIndex: Int, phaseName: String, step: Int, position: Int,
    schedulePosition: Int, tokensTotal: UInt64, dataCursor: UInt64, profile: String,
    model: ModelShape
  ) {
    self.run = run
    self.phaseIndex = phaseIndex
    self.phaseName = phaseName
    self.step = step
    self.position = position
    self.schedulePosition = schedulePosition
    self.tokensTotal = tokensTotal
    self.dataCursor = dataCursor
    self.profile = profile
    self.model = model
  }

  /// The checkpoint's folder name: `<phase>-<step>`.
  public var name: String { "\(phaseName)-\(step)" }

  /// Reads the text of `state.json`.
  package init(reading bytes: [UInt8]) throws(CheckpointError) {
    self = try decoded(CheckpointState.self, bytes, file: CheckpointFile.state)
    guard isPlausible else { throw .malformed(file: CheckpointFile.state) }
  }

  /// Whether the numbers are ones that a writer could have written. A file may hold anything, and
  /// a layout is computed only from sizes whose products cannot overflow.
  var isPlausible: Bool {
    let sizes = [
      model.layerCount, model.modelWidth, model.headCount, model.keyValueHeadCount,
      model.headWidth, model.feedForwardWidth, model.vocabularySize, model.sequenceLength,
    ]
    guard sizes.allSatisfy({ $0 > 0 && $0 < 1 << 31 }), model.layerCount < 1 << 12 else {
      return false
    }
    // Far out of any run's reach, and so small that what is computed from them cannot overflow.
    let counts = [phaseIndex, step, position, schedulePosition]
    guard counts.allSatisfy({ $0 >= 0 && $0 < 1 << 48 }), tokensTotal < 1 << 60 else {
      return false
    }
    let width = Double(model.modelWidth)
    let heads = Double(model.headCount) + 2 * Double(model.keyValueHeadCount)
    let attention = 2 * heads * Double(model.headWidth) * width
    let feedForward = 3 * Double(model.feedForwardWidth) * width
    let elements = Double(model.layerCount) * (attention + feedForward + 2 * width)
      + 2 * Double(model.vocabularySize) * width
    return elements < 0x1p48
  }
}
