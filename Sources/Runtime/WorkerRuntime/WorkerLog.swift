internal import System

/// A worker's lines for people: on its own standard error, and to the coordinator's `logs/`.
final class WorkerLog: Sendable {
  private struct State {
    var name = "worker"
    var unsent: [String] = []
  }
  private let state = Monitor(State())
  /// Lines kept for the coordinator while it is away; older ones are dropped.
  private static let unsentCountMax = 1000

  func setName(_ name: String) { state.update { $0.name = name } }

  func write(_ text: String) {
    let line = state.update { state in
      let line = "\(state.name): \(text)"
      state.unsent.append(line)
      if state.unsent.count > Self.unsentCountMax { state.unsent.removeFirst() }
      return line
    }
    writeText(line + "\n", to: 2)
  }

  /// Waits for lines that were not sent yet, and takes them.
  func takeUnsent(atMost seconds: Double) -> [String] {
    state.wait(atMost: seconds) { state -> [String]? in
      guard !state.unsent.isEmpty else { return nil }
      defer { state.unsent = [] }
      return state.unsent
    } ?? []
  }

  /// Puts lines back that could not be sent.
  func returnUnsent(_ lines: [String]) {
    state.update { $0.unsent = Array((lines + $0.unsent).suffix(Self.unsentCountMax)) }
  }
}
