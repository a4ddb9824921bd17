internal import ControlProtocol
internal import System
internal import Tensors

/// Tokens of operations to come, as they arrive over the bulk connection.
///
/// A worker holds the tokens of all slices of the operations it was granted, since after a death
/// any survivor may have to compute any slice.
final class TokenStore: Sendable {
  private struct Arrival {
    var bytes: [UInt8]
    var filled: Int
  }
  private struct State {
    /// Tokens are sent anew in every view, from the position where it starts.
    var view = 0
    var arriving: [Int: Arrival] = [:]
    var complete: [Int: [TokenSlice]] = [:]
    var isInterrupted = false
  }
  private let state = Monitor(State())

  /// Largest operation a worker accepts, bytes: no allocation follows a peer's number beyond it.
  static let byteCountMax = 1 << 30

  /// Takes one part of an operation's tokens.
  func receive(
    view: Int, position: Int, offset: Int, total: Int, part: [UInt8]
  ) throws(ProtocolError) {
    guard total <= Self.byteCountMax, offset >= 0, offset <= total, part.count <= total - offset
    else { throw .unreadable("tokens \(offset)+\(part.count) of \(total) bytes") }
    let whole = state.update { state -> [UInt8]? in
      if view > state.view {
        state = State(view: view, isInterrupted: state.isInterrupted)
      }
      guard view == state.view, state.complete[position] == nil else { return nil }
      var arrival = state.arriving.removeValue(forKey: position)
        ?? Arrival(bytes: [UInt8](repeating: 0, count: total), filled: 0)
      guard arrival.bytes.count == total else { return nil }
      arrival.bytes.replaceSubrange(offset..<offset + part.count, with: part)
      arrival.filled += part.count
      if arrival.filled >= total { return arrival.bytes }
      state.arriving[position] = arrival
      return nil
    }
    guard let whole else { return }
    let slices = try TokenSliceCoding.decode(whole)
    state.update { if $0.view == view { $0.complete[position] = slices } }
  }

  /// The slices of an operation; nil when `interrupt()` was called first.
  func slices(view: Int, position: Int) -> [TokenSlice]? {
    state.wait { state -> [TokenSlice]?? in
      if state.isInterrupted { return .some(nil) }
      guard state.view == view, let found = state.complete[position] else { return nil }
      return .some(found)
    } ?? nil
  }

  /// Forgets operations before `position`.
  func discard(before position: Int) {
    state.update { state in
      state.complete = state.complete.filter { $0.key >= position }
    }
  }

  func interrupt() { state.update { $0.isInterrupted = true } }
  func allow() { state.update { $0.isInterrupted = false } }
}
