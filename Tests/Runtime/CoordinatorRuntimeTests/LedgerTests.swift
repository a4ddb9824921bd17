import CoordinatorRuntime
import System
import Testing

@Suite struct `The ledger` {
  private func withLedger(
    _ records: [LedgerRecord], cutting count: Int = 0, _ body: (String) throws -> Void
  ) throws {
    try withRun { run in
      try Files.createDirectory(run)
      let bytes = Array(records.map(Ledger.line).joined().utf8)
      try Files.write(Array(bytes.dropLast(count)), to: "\(run)/ledger.log")
      try body("\(run)/ledger.log")
    }
  }

  private let records: [LedgerRecord] = [
    .joined(worker: 0, name: "w0"), .view(number: 1, workers: ["w0"], position: 0),
    .committed(position: 4),
  ]

  @Test func `loses a last line that has no line feed, and nothing else`() throws {
    try withLedger(records, cutting: 1) { path in
      for _ in 0..<2 {
        let ledger = try Ledger(path)
        #expect(ledger.history == Array(records.dropLast()))
      }
    }
  }

  @Test func `is refused where a whole line is damaged, the last one too`() throws {
    try withLedger(records) { path in
      let file = try File(path, .update)
      let byteCount = try file.byteCount()
      try file.write([0x30], at: byteCount - 3)
      #expect(throws: LedgerError.damaged(path: path, line: 3)) { try Ledger(path) }
      #expect(try file.byteCount() == byteCount, "what was announced is not cut off")
    }
  }

  @Test func `expects no workers back after an orderly end, however often it was opened since`() {
    let summary = LedgerSummary(
      records + [
        .ended(reason: "stopped", position: 4),
        .opened(run: 1, incarnation: 2, planDigest: "", tokenizerDigest: nil),
      ])
    #expect(summary.workerCount == 0)
    #expect(LedgerSummary(records).workerCount == 1)
  }

  @Test func `knows the kernels of its first view, and reads views of older releases`() throws {
    let view = LedgerRecord.view(
      number: 2, workers: ["w0"], position: 4, profile: "portable", selfTest: "ab")
    #expect(LedgerSummary(records).profile == nil)
    let summary = LedgerSummary(records + [view, .view(number: 3, workers: [], position: 4)])
    #expect(summary.profile == "portable" && summary.selfTest == "ab")
    let old = #"{"view":{"number":1,"position":0,"workers":["w0"]}}"#
    let sum = String(CRC32C.checksum(Array(old.utf8)), radix: 16)
    let line = String(repeating: "0", count: 8 - sum.count) + sum + " " + old + "\n"
    #expect(Ledger.parse(Array(line.utf8)).records == [records[1]])
  }

  @Test func `goes on from an amendment's own position, and in the phase that began last`() {
    let summary = LedgerSummary(
      records + [.phaseBegan(index: 1, name: "b"), .amended(changes: [], position: 2)])
    #expect(summary.committedPosition == 2)
    #expect(summary.phase == 1)
  }

  @Test func `forgets a gate that the run has gone back behind, or that an older plan had`() {
    let closed = records + [.gateClosed(from: 5, to: 9, reason: ""), .committed(position: 9)]
    func gaps(_ more: LedgerRecord...) -> [Int: Int] { LedgerSummary(closed + more).gaps }
    #expect(gaps() == [9: 5])
    #expect(gaps(.view(number: 2, workers: ["w0"], position: 9)) == [9: 5])
    #expect(gaps(.view(number: 2, workers: ["w0"], position: 4)) == [:])
    #expect(gaps(.rewound(from: 9, to: 4)) == [:])
    let amended = LedgerRecord.amended(changes: [], position: 12)
    #expect(gaps(amended, .gateClosed(from: 8, to: 11, reason: "")) == [11: 8])
  }
}
