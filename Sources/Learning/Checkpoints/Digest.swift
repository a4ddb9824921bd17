internal import System
public import Tensors

/// The identity of a run's state: 64 hex digits that differ if any bit of it does.
///
///     SHA-256( for every tensor in byte order of its Hugging Face name:
///                name, 0x00, shape as u64, master, first moment, second moment as f32
///              phase index, step, tokens_total as u64 )          all little-endian
public enum Digest {
  /// The digest of a state in memory; each window holds `layout.count` elements.
  ///
  /// - Parameters:
  ///   - step: Steps of the phase that were taken.
  ///   - tokensTotal: Real tokens trained on since the run began.
  public static func hex(
    layout: ParameterLayout, master: SharedRows<Float>, firstMoment: SharedRows<Float>,
    secondMoment: SharedRows<Float>, phaseIndex: Int, step: Int, tokensTotal: UInt64
  ) -> String {
    for window in [master, firstMoment, secondMoment] {
      precondition(
        window.count == layout.count, "a window of \(window.count) is not [\(layout.count)]")
    }
    var hash = SHA256()
    for parameter in ordered(layout) {
      hash.updatePrologue(of: parameter)
      for window in [master, firstMoment, secondMoment] {
        window[parameter.range].withBytes { hash.update($0) }
      }
    }
    hash.updateEpilogue(phaseIndex: phaseIndex, step: step, tokensTotal: tokensTotal)
    return hash.hexDigest
  }

  /// The digest of a state whose tensors are read piece by piece.
  static func hex(
    layout: ParameterLayout, phaseIndex: Int, step: Int, tokensTotal: UInt64,
    read: (Parameter, StatePart, ([UInt8]) -> Void) throws(CheckpointError) -> Void
  ) throws(CheckpointError) -> String {
    var hash = SHA256()
    for parameter in ordered(layout) {
      hash.updatePrologue(of: parameter)
      for part in StatePart.allCases {
        try read(parameter, part) { hash.update($0) }
      }
    }
    hash.updateEpilogue(phaseIndex: phaseIndex, step: step, tokensTotal: tokensTotal)
    return hash.hexDigest
  }

  private static func ordered(_ layout: ParameterLayout) -> [Parameter] {
    layout.parameters.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
  }
}

extension SHA256 {
  fileprivate mutating func updatePrologue(of parameter: Parameter) {
    update(parameter.name)
    update([0])
    for dimension in parameter.shape { update(UInt64(dimension)) }
  }

  fileprivate mutating func updateEpilogue(phaseIndex: Int, step: Int, tokensTotal: UInt64) {
    update(UInt64(phaseIndex))
    update(UInt64(step))
    update(tokensTotal)
  }
}
