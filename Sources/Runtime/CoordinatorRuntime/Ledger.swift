internal import ControlProtocol
internal import Planning
public import Settings
package import System

/// One decision of the coordinator, as it stands in `ledger.log`.
package enum LedgerRecord: Codable, Equatable, Sendable {
  /// A coordinator took charge of the run; incarnations count from 1. `planDigest` says, to whoever
  /// audits a run, which plan each incarnation followed; on resume plans are compared key by key.
  case opened(run: UInt64, incarnation: Int, planDigest: String, tokenizerDigest: String?)
  /// Who takes part from `position` on, and what they compute with: the numeric profile and its
  /// kernels' self-test are the run's from the first view on. Older releases wrote neither.
  case view(
    number: Int, workers: [String], position: Int, profile: String? = nil, selfTest: String? = nil)
  /// A worker was given a number, which no other gets.
  case joined(worker: Int, name: String)
  /// What a phase reads: SHA-256 of its text.
  case text(phase: Int, digest: String)
  /// Operations before `position` are done on every member.
  case committed(position: Int)
  case phaseBegan(index: Int, name: String)
  /// A gate closed a phase: operations from `from` on, before `to`, are not done.
  case gateClosed(from: Int, to: Int, reason: String)
  case checkpointed(position: Int, name: String)
  /// The plan was changed on resume; `changes` are `key: old -> new`.
  case amended(changes: [String], position: Int)
  case rewound(from: Int, to: Int)
  case ended(reason: String, position: Int)
}

extension LedgerRecord: ForeignMessage {
  package var impossibility: String? {
    switch self {
    case .opened(_, let incarnation, _, _):
      ForeignNumber.firstImpossible(["incarnation": incarnation])
    case .view(let number, _, let position, _, _):
      ForeignNumber.firstImpossible(["view": number], limit: ForeignNumber.viewLimit)
        ?? ForeignNumber.firstImpossible(["position": position])
    case .joined(let worker, _): ForeignNumber.firstImpossible(["worker": worker])
    case .committed(let position), .checkpointed(let position, _), .amended(_, let position),
      .ended(_, let position):
      ForeignNumber.firstImpossible(["position": position])
    case .phaseBegan(let index, _), .text(let index, _):
      ForeignNumber.firstImpossible(["phase": index])
    case .rewound(let from, let to), .gateClosed(let from, let to, _):
      ForeignNumber.firstImpossible(["from": from, "to": to])
    }
  }
}

/// A ledger that cannot be used.
package enum LedgerError: Error, Equatable {
  case system(SystemError)
  /// A whole line does not verify: the file was changed by somebody else, or the disk lost it.
  case damaged(path: String, line: Int)

  /// What a program that meets it exits with.
  var exitCode: Int32 {
    switch self {
    case .system: 74
    case .damaged: 65
    }
  }
}

extension LedgerError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .system(let error): "\(error)"
    case .damaged(let path, let line):
      "\(path): line \(line) is damaged; put back a copy of the file, or remove it: the run then "
        + "goes on from its newest checkpoint"
    }
  }
}

/// The coordinator's write-ahead log: one record a line, `<CRC-32C in hex> <JSON>`.
///
/// What must not be lost is on disk before it is announced. A last line without its line feed (the
/// machine died while writing it) was never announced and is cut off.
package final class Ledger {
  private let file: File
  private var byteCount: Int
  /// What stood in the file when it was opened.
  package let history: [LedgerRecord]
  private let badLine: Int?

  package init(_ path: String) throws(LedgerError) {
    do throws(SystemError) {
      let bytes = Files.exists(path) ? try Files.read(path, byteCountMax: 1 << 30) : []
      let found = Self.parse(bytes)
      if found.badLine == nil, found.validByteCount < bytes.count {
        try Files.write(Array(bytes.prefix(found.validByteCount)), to: path)
      }
      history = found.records
      badLine = found.badLine
      file = try File(path, .append)
      byteCount = try file.byteCount()
    } catch {
      throw .system(error)
    }
    if let badLine { throw .damaged(path: path, line: badLine) }
  }

  /// Numbers that were given to workers are all below this.
  var workerCountEver: Int {
    history.reduce(0) { count, record in
      if case .joined(let worker, _) = record { max(count, worker + 1) } else { count }
    }
  }

  /// Appends a record. With `synchronizing`, it is on disk when this returns.
  ///
  /// After a failure the file is as it was: half a record with others behind it would be damage.
  package func append(_ record: LedgerRecord, synchronizing: Bool) throws(SystemError) {
    let line = Array(Self.line(record).utf8)
    do {
      try file.append(line)
    } catch {
      try? file.truncate(to: byteCount)
      throw error
    }
    byteCount += line.count
    if synchronizing { try file.synchronize() }
  }

  package static func line(_ record: LedgerRecord) -> String {
    let json = MessageCoding.encode(record)
    return hexText(CRC32C.checksum(json)) + " " + String(decoding: json, as: UTF8.self) + "\n"
  }

  package struct Contents {
    package var records: [LedgerRecord]
    /// How many bytes hold them.
    package var validByteCount: Int
    /// The whole line that is damaged, if any.
    package var badLine: Int?
  }

  package static func parse(_ bytes: [UInt8]) -> Contents {
    var records: [LedgerRecord] = []
    var start = 0
    var line = 1
    while let end = bytes[start...].firstIndex(of: 0x0A) {
      guard let record = record(bytes[start..<end]) else {
        return Contents(records: records, validByteCount: start, badLine: line)
      }
      records.append(record)
      start = end + 1
      line += 1
    }
    return Contents(records: records, validByteCount: start)
  }

  private static func record(_ line: ArraySlice<UInt8>) -> LedgerRecord? {
    guard let space = line.firstIndex(of: 0x20) else { return nil }
    let json = Array(line[(space + 1)...])
    let checksum = String(decoding: line[..<space], as: UTF8.self)
    guard checksum == hexText(CRC32C.checksum(json)) else { return nil }
    return try? MessageCoding.decode(LedgerRecord.self, from: json)
  }
}

/// SHA-256 of what the phases of a run read, by their index, as far as its ledger has them.
public func textDigests(ofRun path: String) -> [Int: String] {
  LedgerSummary(ofRun: path)?.textDigests ?? [:]
}

/// Steps that were taken in the phases of a run that gates ended, by the phases' indices, as far as
/// its ledger has them.
public func stepsTaken(ofRun path: String, plan: ResolvedPlan) -> [Int: Int] {
  var program = PhaseProgram(plan)
  program.gaps = LedgerSummary(ofRun: path)?.gaps ?? [:]
  return program.stepsTaken
}

/// What a restarted coordinator needs of its ledger.
package struct LedgerSummary: Equatable {
  var run: UInt64?
  var tokenizerDigest: String?
  /// By phase index.
  var textDigests: [Int: String] = [:]
  var incarnation = 0
  var view = 0
  /// Members of the last view; 0 after an orderly end, since they were let go.
  package private(set) var workerCount = 0
  package private(set) var committedPosition = 0
  /// What the run computes with, from its first view on.
  package private(set) var profile: String?
  package private(set) var selfTest: String?
  /// Index of the phase that began last.
  package private(set) var phase: Int?
  /// Where operations were left out on the way to ``committedPosition``: the position behind the
  /// gap, and the one before it.
  package private(set) var gaps: [Int: Int] = [:]

  /// nil where there is no ledger.
  fileprivate init?(ofRun path: String) {
    guard let bytes = try? Files.read("\(path)/ledger.log") else { return nil }
    self.init(Ledger.parse(bytes).records)
  }

  package init(_ history: [LedgerRecord]) {
    for record in history {
      switch record {
      case .opened(let run, let incarnation, _, let tokenizerDigest):
        self.run = run
        self.tokenizerDigest = tokenizerDigest ?? self.tokenizerDigest
        self.incarnation = incarnation
      case .view(let number, let workers, let position, let profile, let selfTest):
        view = number
        workerCount = workers.count
        goBack(to: position)
        self.profile = profile ?? self.profile
        self.selfTest = selfTest ?? self.selfTest
      case .text(let phase, let digest): textDigests[phase] = digest
      case .committed(let position): committedPosition = position
      // An amendment's position counts the operations of the plan that it makes, and so do the gaps
      // that follow it.
      case .amended(_, let position):
        committedPosition = position
        gaps = [:]
      case .rewound(_, let to): goBack(to: to)
      case .phaseBegan(let index, _): phase = index
      case .gateClosed(let from, let to, _): gaps[to] = from
      case .ended: workerCount = 0
      case .checkpointed, .joined: break
      }
    }
  }

  private mutating func goBack(to position: Int) {
    committedPosition = position
    gaps = gaps.filter { $0.key <= position }
  }
}

/// A 32-bit checksum as eight hexadecimal digits.
private func hexText(_ value: UInt32) -> String {
  let digits = String(value, radix: 16)
  return String(repeating: "0", count: 8 - digits.count) + digits
}
