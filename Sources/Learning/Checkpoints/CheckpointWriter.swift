internal import Synchronization
internal import System
public import Tensors

/// Writes one checkpoint: chunks in any order from any thread, then all or nothing.
///
///     checkpoints/<phase>-<step>/
///       model.safetensors                     master weights, f32, Hugging Face names and shapes
///       first_moment.f32, second_moment.f32   flat, little-endian
///       reward.safetensors and so on          the same of other models, where the phase has them
///       rollouts.f32                          answers to learn from, where it has them
///       state.json, plan.resolved.json, tokenizer.json
///       manifest.json                         sizes and checksums; written last
///
/// Everything is written into a folder aside, read back, synchronized and renamed as a whole.
/// Whatever fails before that leaves the run's other checkpoints as they were.
public final class CheckpointWriter: Sendable {
  public let name: String
  public let chunks: StateChunks
  /// Where the checkpoint will lie.
  public let path: String

  /// Where it is written: a folder of this attempt's own, so that a new attempt at the same
  /// checkpoint never touches the files of an older one that is still being committed.
  package let aside: String
  private static let attemptCount = Atomic<Int>(0)
  private let state: CheckpointState
  private let files: StateFiles
  private let smallFiles: [String]
  private let progress: Mutex<Progress>

  private struct Progress {
    var checksums: [UInt32?]
    var isClosed = false
  }

  /// Creates the folder aside, reserves the room that the state needs, and writes the small files.
  ///
  /// - Parameters:
  ///   - runDirectory: `runs/<name>`.
  ///   - name: The folder's name; `<phase>-<step>` unless given.
  ///   - tokenizer: The contents of `tokenizer.json`, where the run has one.
  ///   - plan: The contents of `plan.resolved.json`.
  /// - Throws: ``CheckpointError/system(_:)``, for a full disk too.
  public init(
    runDirectory: String, name: String? = nil, state: CheckpointState, tokenizer: [UInt8]?,
    plan: [UInt8]
  ) throws(CheckpointError) {
    let name = name ?? state.name
    let folder = CheckpointFolder.path(inRun: runDirectory)
    let attempt = Self.attemptCount.add(1, ordering: .relaxed).newValue
    let aside = "\(folder)/\(CheckpointFolder.writingPrefix)\(name).\(attempt)"
    self.name = name
    self.state = state
    self.aside = aside
    path = "\(folder)/\(name)"
    let layout = state.layout
    chunks = layout.chunks
    progress = Mutex(Progress(checksums: [UInt32?](repeating: nil, count: chunks.chunkCount)))
    var small = [
      (CheckpointFile.state, try encoded(state, file: CheckpointFile.state)),
      (CheckpointFile.plan, plan),
    ]
    if let tokenizer { small.append((CheckpointFile.tokenizer, tokenizer)) }
    smallFiles = small.map(\.0)
    do {
      try wrapping { () throws(SystemError) in
        try Files.createDirectory(folder)
        try Files.removeTree(aside)
        try Files.createDirectory(aside)
      }
      files = try StateFiles(layout: layout, headers: [:], folder: aside, access: .create)
      try Self.prepare(files, aside: aside, small: small)
    } catch {
      try? Files.removeTree(aside)
      throw error
    }
  }

  private static func prepare(
    _ files: StateFiles, aside: String, small: [(String, [UInt8])]
  ) throws(CheckpointError) {
    try wrapping { () throws(SystemError) in
      try files.prepare()
      for (name, bytes) in small {
        let file = try File("\(aside)/\(name)", .create)
        try file.write(bytes, at: 0)
        try file.synchronize()
      }
    }
  }

  /// Writes one chunk. Safe from several threads; a chunk may come twice with the same bytes.
  ///
  /// - Throws: ``CheckpointError/noSuchChunk(index:count:)``,
  ///   ``CheckpointError/chunkSize(index:byteCount:expected:)``,
  ///   ``CheckpointError/chunkDiffers(index:)``, ``CheckpointError/closed``,
  ///   ``CheckpointError/system(_:)``.
  public func writeChunk(index: Int, bytes: [UInt8]) throws(CheckpointError) {
    guard index >= 0, index < chunks.chunkCount else {
      throw .noSuchChunk(index: index, count: chunks.chunkCount)
    }
    guard bytes.count == chunks.byteCount(of: index) else {
      throw .chunkSize(
        index: index, byteCount: bytes.count, expected: chunks.byteCount(of: index))
    }
    var clean = bytes
    var start = 0
    for piece in chunks.pieces(of: index) {
      files.clearPadding(piece, in: &clean, from: start)
      start += 4 * piece.range.count
    }
    let checksum = CRC32C.checksum(clean)
    if let known = try known(index) {
      guard known == checksum else { throw .chunkDiffers(index: index) }
      return
    }
    try wrapping { () throws(SystemError) in try write(index, clean) }
    try record(index, checksum)
  }

  private func write(_ index: Int, _ bytes: [UInt8]) throws(SystemError) {
    var start = 0
    for piece in chunks.pieces(of: index) {
      let end = start + 4 * piece.range.count
      try files.write(piece, bytes[start..<end])
      start = end
    }
  }

  private func known(_ index: Int) throws(CheckpointError) -> UInt32? {
    try progress.withLock { (progress) throws(CheckpointError) in
      guard !progress.isClosed else { throw .closed }
      return progress.checksums[index]
    }
  }

  private func record(_ index: Int, _ checksum: UInt32) throws(CheckpointError) {
    try progress.withLock { (progress) throws(CheckpointError) in
      guard !progress.isClosed else { throw .closed }
      if let other = progress.checksums[index], other != checksum {
        throw .chunkDiffers(index: index)
      }
      progress.checksums[index] = checksum
    }
  }

  /// Chunks that have not arrived, ascending.
  public var missingChunks: [Int] {
    progress.withLock { progress in
      progress.checksums.indices.filter { progress.checksums[$0] == nil }
    }
  }

  /// Reads back and synchronizes everything, writes the manifest and renames the folder into place.
  ///
  /// A folder that already has the name (the run went back past it) is replaced in one step.
  /// ``CheckpointError/missingChunks(count:first:)`` leaves the writer open: they may still come.
  /// After any other error the checkpoint does not exist and its files are removed.
  ///
  /// - Returns: A reader of what was written; every byte was checked just now.
  @discardableResult
  public func commit() throws(CheckpointError) -> CheckpointReader {
    let checksums = try progress.withLock { (progress) throws(CheckpointError) -> [UInt32] in
      guard !progress.isClosed else { throw .closed }
      let missing = progress.checksums.indices.filter { progress.checksums[$0] == nil }
      guard missing.isEmpty else {
        throw .missingChunks(count: missing.count, first: missing[0])
      }
      progress.isClosed = true
      return progress.checksums.compactMap { $0 }
    }
    do {
      try verify(checksums)
      let manifest = try synchronizedManifest(checksums)
      let bytes = try encoded(manifest, file: Manifest.fileName)
      try wrapping { () throws(SystemError) in
        let file = try File("\(aside)/\(Manifest.fileName)", .create)
        try file.write(bytes, at: 0)
        try file.synchronize()
        try Files.synchronizeDirectory(aside)
        try CheckpointFolder.putInPlace(aside, as: path)
      }
      return try CheckpointReader(path, verified: manifest)
    } catch {
      try? Files.removeTree(aside)
      throw error
    }
  }

  /// Whether the files hold what was written to them.
  private func verify(_ checksums: [UInt32]) throws(CheckpointError) {
    for index in 0..<chunks.chunkCount {
      let bytes = try wrapping { () throws(SystemError) in try files.read(chunk: index) }
      guard CRC32C.checksum(bytes) == checksums[index] else { throw .chunkDamaged(index: index) }
    }
  }

  private func synchronizedManifest(_ checksums: [UInt32]) throws(CheckpointError) -> Manifest {
    let layout = files.layout[.policy].layout
    var manifest = Manifest(
      format: Manifest.knownFormat, files: [], elementCount: layout.count,
      tensors: layout.parameters.map { .init(name: $0.name, shape: $0.shape, offset: $0.offset) },
      chunkChecksums: checksums)
    for name in files.layout.parts.map(CheckpointFile.name(of:)) + smallFiles {
      let file = try wrapping { () throws(SystemError) in try File("\(aside)/\(name)", .update) }
      let byteCount = try wrapping { () throws(SystemError) in
        try file.synchronize()
        return try file.byteCount()
      }
      manifest.files.append(
        .init(name: name, bytes: byteCount, sha256: try hexDigest(of: file)))
    }
    return manifest
  }

  /// Gives up and removes what was written. Does nothing after a commit.
  public func abort() {
    let wasOpen = progress.withLock { progress in
      defer { progress.isClosed = true }
      return !progress.isClosed
    }
    // A folder that stays behind has a name that no reader takes for a checkpoint.
    if wasOpen { try? Files.removeTree(aside) }
  }
}
