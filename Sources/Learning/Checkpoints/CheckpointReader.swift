internal import System
public import Tensors

/// A checkpoint that verified when it was opened.
public final class CheckpointReader: Sendable {
  /// A checkpoint that was newer, or could not be placed, and why it is not used.
  public struct PassedOver: Equatable, Sendable {
    public let name: String
    public let reason: CheckpointError
  }

  public let name: String
  public let path: String
  public let state: CheckpointState
  public let layout: ParameterLayout
  public let chunks: StateChunks
  private let manifest: Manifest
  private let files: StateFiles

  /// Opens the checkpoint in the folder `path` and checks every byte of it.
  ///
  /// - Throws: The first difference from the manifest.
  public convenience init(_ path: String) throws(CheckpointError) {
    let manifest = try Self.manifest(path)
    try Self.checkSizes(manifest, path)
    for entry in manifest.files {
      let file = try wrapping { () throws(SystemError) in
        try File("\(path)/\(entry.name)", .read)
      }
      guard try hexDigest(of: file) == entry.sha256 else {
        throw .checksumDiffers(file: entry.name)
      }
    }
    try self.init(path, verified: manifest)
  }

  /// Opens a checkpoint whose files were found to be what `manifest` says.
  init(_ path: String, verified manifest: Manifest) throws(CheckpointError) {
    let state = try Self.state(path)
    let layout = ParameterLayout(state.model)
    guard layout.count == manifest.elementCount else {
      throw .layoutDiffers(elementCount: manifest.elementCount, expected: layout.count)
    }
    let chunks = StateChunks(count: layout.count)
    guard manifest.chunkChecksums.count == chunks.chunkCount else {
      throw .malformed(file: Manifest.fileName)
    }
    let header = try Self.header(path)
    if let name = StateFiles.missingTensor(of: layout, in: header) {
      throw .tensorDiffers(name: name)
    }
    let files = try StateFiles(layout: layout, header: header, folder: path, access: .read)
    for file in [files.firstMoment, files.secondMoment] {
      let byteCount = try wrapping { () throws(SystemError) in try file.byteCount() }
      guard byteCount == 4 * layout.count else {
        throw .sizeDiffers(
          file: Files.name(of: file.path), byteCount: byteCount, expected: 4 * layout.count)
      }
    }
    name = Files.name(of: path)
    self.path = path
    self.manifest = manifest
    self.state = state
    self.layout = layout
    self.chunks = chunks
    self.files = files
  }

  /// The newest checkpoint of a run that verifies, and those that were passed over for it.
  ///
  /// Newest is the highest phase, then the highest step in it, as `state.json` says; folders in
  /// which that cannot be read come last in ``PassedOver``.
  ///
  /// - Returns: nil for the reader if the run has no usable checkpoint.
  /// - Throws: Only if the folder itself cannot be listed.
  public static func newest(
    inRun runDirectory: String
  ) throws(CheckpointError) -> (reader: CheckpointReader?, passedOver: [PassedOver]) {
    let (sorted, unreadable) = try candidates(inRun: runDirectory)
    var passedOver: [PassedOver] = []
    for candidate in sorted {
      do {
        return (try CheckpointReader(candidate.path), passedOver + unreadable)
      } catch {
        passedOver.append(PassedOver(name: candidate.name, reason: error))
      }
    }
    return (nil, passedOver + unreadable)
  }

  /// Opens a checkpoint, or the newest usable one of a run.
  ///
  /// - Parameter path: A checkpoint's folder or a run's.
  /// - Parameter passing: Told of every newer checkpoint that is not usable.
  /// - Throws: also ``CheckpointError/noneUsable(run:)``, or the newest one's own error.
  public static func open(
    _ path: String, passing: (PassedOver) -> Void = { _ in }
  ) throws(CheckpointError) -> CheckpointReader {
    if Files.exists("\(path)/\(Manifest.fileName)") { return try CheckpointReader(path) }
    let found = try newest(inRun: path)
    for passed in found.passedOver { passing(passed) }
    guard let reader = found.reader else {
      throw found.passedOver.first?.reason ?? .noneUsable(run: path)
    }
    return reader
  }

  struct Candidate {
    let name: String
    let path: String
    let state: CheckpointState
  }

  /// The run's checkpoints, newest first, and those whose position cannot be read.
  static func candidates(
    inRun runDirectory: String
  ) throws(CheckpointError) -> (sorted: [Candidate], unreadable: [PassedOver]) {
    let folder = CheckpointFolder.path(inRun: runDirectory)
    var found: [Candidate] = []
    var unreadable: [PassedOver] = []
    for name in try CheckpointFolder.names(inRun: runDirectory) {
      do throws(CheckpointError) {
        let path = "\(folder)/\(name)"
        guard Files.exists("\(path)/\(Manifest.fileName)") else {
          throw .missing(file: Manifest.fileName)
        }
        found.append(Candidate(name: name, path: path, state: try state(path)))
      } catch {
        unreadable.append(PassedOver(name: name, reason: error))
      }
    }
    found.sort {
      ($0.state.phaseIndex, $0.state.step) > ($1.state.phaseIndex, $1.state.step)
    }
    return (found, unreadable)
  }

  /// Whether the manifest reads and every file has its size. Checksums are not looked at.
  static func isComplete(_ path: String) -> Bool {
    do throws(CheckpointError) {
      try checkSizes(manifest(path), path)
      return true
    } catch {
      return false
    }
  }

  private static func read(
    _ name: String, _ path: String, byteCountMax: Int
  ) throws(CheckpointError) -> [UInt8] {
    do {
      return try Files.read("\(path)/\(name)", byteCountMax: byteCountMax)
    } catch where error.isNotFound {
      throw .missing(file: name)
    } catch {
      throw .system(error)
    }
  }

  private static func manifest(_ path: String) throws(CheckpointError) -> Manifest {
    try Manifest(
      reading: try read(Manifest.fileName, path, byteCountMax: Manifest.byteCountMax))
  }

  private static func checkSizes(_ manifest: Manifest, _ path: String) throws(CheckpointError) {
    for entry in manifest.files {
      let info = try wrapping { () throws(SystemError) in
        try Files.info("\(path)/\(entry.name)")
      }
      guard let info, !info.isDirectory else { throw .missing(file: entry.name) }
      guard info.byteCount == entry.bytes else {
        throw .sizeDiffers(file: entry.name, byteCount: info.byteCount, expected: entry.bytes)
      }
    }
  }

  private static func state(_ path: String) throws(CheckpointError) -> CheckpointState {
    try CheckpointState(reading: try read(CheckpointFile.state, path, byteCountMax: 1 << 20))
  }

  private static func header(_ path: String) throws(CheckpointError) -> SafetensorsHeader {
    do {
      return try SafetensorsHeader(readingFrom: "\(path)/\(CheckpointFile.weights)")
    } catch {
      switch error {
      case .system(let error): throw .system(error)
      case .format(let error): throw .weights(error)
      }
    }
  }

  /// The bytes of one chunk of the state, padding zero, checked against the manifest.
  ///
  /// - Throws: ``CheckpointError/noSuchChunk(index:count:)``,
  ///   ``CheckpointError/chunkDamaged(index:)``, ``CheckpointError/system(_:)``.
  public func readChunk(_ index: Int) throws(CheckpointError) -> [UInt8] {
    guard index >= 0, index < chunks.chunkCount else {
      throw .noSuchChunk(index: index, count: chunks.chunkCount)
    }
    let bytes = try wrapping { () throws(SystemError) in try files.read(chunks, index) }
    guard CRC32C.checksum(bytes) == manifest.chunkChecksums[index] else {
      throw .chunkDamaged(index: index)
    }
    return bytes
  }

  /// Reads the master weights into their flat space, `[layout.count]`.
  public func loadWeights(into flat: SharedRows<Float>) throws(CheckpointError) {
    try load([.master], into: [flat])
  }

  /// Reads the whole state into its three flat spaces, each `[layout.count]`.
  public func loadAll(
    master: SharedRows<Float>, firstMoment: SharedRows<Float>, secondMoment: SharedRows<Float>
  ) throws(CheckpointError) {
    try load(StatePart.allCases, into: [master, firstMoment, secondMoment])
  }

  /// Reads whole parts. Every chunk that lies inside them is checked against the manifest.
  private func load(
    _ parts: [StatePart], into windows: [SharedRows<Float>]
  ) throws(CheckpointError) {
    for (part, window) in zip(parts, windows) {
      guard window.count == layout.count else {
        throw .layoutDiffers(elementCount: layout.count, expected: window.count)
      }
      try wrapping { () throws(SystemError) in
        try files.read(part, 0..<layout.count, into: window)
      }
    }
    for index in 0..<chunks.chunkCount {
      let pieces = chunks.pieces(of: index)
      guard pieces.allSatisfy({ $0.part < parts.count }) else { continue }
      var checksum: UInt32 = 0
      for piece in pieces {
        checksum = windows[piece.part][piece.range].withBytes {
          CRC32C.checksum($0, seed: checksum)
        }
      }
      guard checksum == manifest.chunkChecksums[index] else { throw .chunkDamaged(index: index) }
    }
  }

  /// Hands out one tensor of one part of the state, piece by piece, as `f32` little-endian bytes.
  private func bytes(
    of parameter: Parameter, _ part: StatePart, _ body: ([UInt8]) -> Void
  ) throws(CheckpointError) {
    var start = parameter.offset
    while start < parameter.range.upperBound {
      let range = start..<min(start + StateChunks.chunkElementCount, parameter.range.upperBound)
      body(try wrapping { () throws(SystemError) in try files.read(part, range) })
      start = range.upperBound
    }
  }

  /// The tokenizer that the run trains with, as `tokenizer.json`; nil where it has none.
  public func tokenizer() throws(CheckpointError) -> [UInt8]? {
    guard manifest.entry(CheckpointFile.tokenizer) != nil else { return nil }
    return try Self.read(CheckpointFile.tokenizer, path, byteCountMax: 1 << 30)
  }

  /// The plan that the run follows, as `plan.resolved.json`.
  public func plan() throws(CheckpointError) -> [UInt8] {
    try Self.read(CheckpointFile.plan, path, byteCountMax: 1 << 26)
  }

  /// The run's digest at this point, see ``Digest``.
  public func digest() throws(CheckpointError) -> String {
    try Digest.hex(
      layout: layout, phaseIndex: state.phaseIndex, step: state.step,
      tokensTotal: state.tokensTotal
    ) { (parameter, part, append) throws(CheckpointError) in
      try bytes(of: parameter, part, append)
    }
  }
}
