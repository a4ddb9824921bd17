internal import System
public import Tensors

/// The identity of a run's state: 64 hex digits that differ if any bit of it does.
///
///     SHA-256( for every model, for every tensor in byte order of its Hugging Face name:
///                name, 0x00, shape as u64, master and, if trained, first and second moment as f32
///              phase index, step, tokens_total as u64
///              rollouts as f32, where there are any )          all little-endian
public enum Digest {
  /// The digest of a state in memory.
  ///
  /// - Parameters:
  ///   - parts: A window for each part of the layout.
  ///   - step: Steps of the phase that were taken.
  ///   - tokensTotal: Real tokens trained on since the run began.
  public static func hex(
    layout: StateLayout, parts: [SharedRows<Float>], phaseIndex: Int, step: Int,
    tokensTotal: UInt64
  ) -> String {
    for (window, count) in zip(parts, layout.chunks.counts) {
      precondition(window.count == count, "a window of \(window.count) is not [\(count)]")
    }
    return hex(layout: layout, phaseIndex: phaseIndex, step: step, tokensTotal: tokensTotal) {
      part, range, hash in parts[part][range].withBytes { hash.update($0) }
    }
  }

  /// The digest of a state that is read piece by piece.
  ///
  /// - Parameter append: Adds a range of the part with an index to the hash.
  static func hex<Failure: Error>(
    layout: StateLayout, phaseIndex: Int, step: Int, tokensTotal: UInt64,
    append: (_ part: Int, _ range: Range<Int>, _ hash: inout SHA256) throws(Failure) -> Void
  ) throws(Failure) -> String {
    var hash = SHA256()
    var part = 0
    for model in layout.models {
      let own = part..<part + (model.isTrained ? 3 : 1)
      for parameter in ordered(model.layout) {
        hash.updatePrologue(of: parameter)
        for part in own { try append(part, parameter.range, &hash) }
      }
      part = own.upperBound
    }
    hash.updateEpilogue(phaseIndex: phaseIndex, step: step, tokensTotal: tokensTotal)
    if layout.rolloutCount > 0 { try append(part, 0..<layout.rolloutCount, &hash) }
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
