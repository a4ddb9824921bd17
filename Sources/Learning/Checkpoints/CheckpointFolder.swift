internal import System

/// The folder `checkpoints` of a run.
public enum CheckpointFolder {
  static let writingPrefix = ".writing-"
  static let removingPrefix = ".removing-"

  /// Where a run's checkpoints lie.
  public static func path(inRun runDirectory: String) -> String { "\(runDirectory)/checkpoints" }

  /// Names of the run's checkpoints, whole or not, in byte order.
  public static func names(inRun runDirectory: String) throws(CheckpointError) -> [String] {
    let folder = path(inRun: runDirectory)
    return try wrapping { () throws(SystemError) in
      guard try Files.info(folder) != nil else { return [] }
      return try Files.list(folder).filter { !$0.hasPrefix(".") }
    }
  }

  /// Removes what a killed writer left behind. Called at start-up, while nobody writes.
  public static func removeLeftovers(inRun runDirectory: String) throws(CheckpointError) {
    let folder = path(inRun: runDirectory)
    try wrapping { () throws(SystemError) in
      guard try Files.info(folder) != nil else { return }
      for name in try Files.list(folder)
      where name.hasPrefix(writingPrefix) || name.hasPrefix(removingPrefix) {
        try Files.removeTree("\(folder)/\(name)")
      }
    }
  }

  /// The newest whole checkpoint of each phase that has one, by the phase's index in the plan: what
  /// the phase made, once it is over.
  public static func newestOfPhases(
    inRun runDirectory: String
  ) throws(CheckpointError) -> [Int: String] {
    let candidates = try CheckpointReader.candidates(inRun: runDirectory).sorted
    var found: [Int: String] = [:]
    for candidate in candidates
    where found[candidate.state.phaseIndex] == nil && CheckpointReader.isComplete(candidate.path) {
      found[candidate.state.phaseIndex] = candidate.path
    }
    return found
  }

  /// Removes all but the newest `count` checkpoints and the newest of each phase, which is what
  /// that phase made, and returns the names of those removed.
  ///
  /// Nothing is removed unless the newest one verifies, and only checkpoints whose files are there
  /// in full size are counted as kept.
  ///
  /// - Parameter verified: The name of one that was verified just now, and is not read again.
  /// - Precondition: `count` is at least 1.
  public static func keep(
    newest count: Int, inRun runDirectory: String, verified: String? = nil
  ) throws(CheckpointError) -> [String] {
    precondition(count >= 1, "a run keeps at least one checkpoint, got \(count)")
    let candidates = try CheckpointReader.candidates(inRun: runDirectory).sorted
    guard let newest = candidates.first else { return [] }
    if newest.name != verified { _ = try CheckpointReader(newest.path) }
    var kept = 0
    var phases: Set<Int> = []
    var removed: [String] = []
    for candidate in candidates {
      let isComplete = CheckpointReader.isComplete(candidate.path)
      if isComplete, phases.insert(candidate.state.phaseIndex).inserted {
        kept += 1
      } else if kept >= count {
        try remove(candidate.path)
        removed.append(candidate.name)
      } else if isComplete {
        kept += 1
      }
    }
    return removed
  }

  /// Removes a checkpoint; a kill in the middle leaves no half of it under its name.
  private static func remove(_ path: String) throws(CheckpointError) {
    let doomed = "\(Files.parent(of: path))/\(removingPrefix)\(Files.name(of: path))"
    try wrapping { () throws(SystemError) in
      try Files.removeTree(doomed)
      try Files.rename(path, to: doomed)
      try Files.removeTree(doomed)
    }
  }

  /// Gives the folder `aside` its name for good, replacing a folder that has it.
  static func putInPlace(_ aside: String, as path: String) throws(SystemError) {
    let parent = Files.parent(of: path)
    if try Files.info(path) == nil {
      try Files.rename(aside, to: path)
    } else {
      try Files.exchange(aside, path)
      try Files.synchronizeDirectory(parent)
      try Files.removeTree(aside)
    }
    try Files.synchronizeDirectory(parent)
  }
}
