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
  /// What the checkpoint holds.
  public let stateLayout: StateLayout
  public var chunks: StateChunks { stateLayout.chunks }
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
    let layout = state.layout
    guard layout[.policy].layout.count == manifest.elementCount else {
      throw .layoutDiffers(
        elementCount: manifest.elementCount, expected: layout[.policy].layout.count)
    }
    guard manifest.chunkChecksums.count == layout.chunks.chunkCount else {
      throw .malformed(file: Manifest.fileName)
    }
    for part in layout.parts where manifest.entry(CheckpointFile.name(of: part)) == nil {
      throw .missing(file: CheckpointFile.name(of: part))
    }
    var headers: [ModelRole: SafetensorsHeader] = [:]
    for model in layout.models {
      let header = try Self.header(path, CheckpointFile.name(of: .master(model.role)))
      if let name = StateFiles.missingTensor(of: model.layout, in: header) {
        throw .tensorDiffers(name: name)
      }
      headers[model.role] = header
    }
    let files = try StateFiles(layout: layout, headers: headers, folder: path, access: .read)
    if let wrong = try wrapping({ () throws(SystemError) in try files.wrongSize() }) {
      throw .sizeDiffers(
        file: Files.name(of: wrong.path), byteCount: wrong.found, expected: wrong.expected)
    }
    name = Files.name(of: path)
    self.path = path
    self.manifest = manifest
    self.state = state
    stateLayout = layout
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

  private static func header(
    _ path: String, _ name: String
  ) throws(CheckpointError) -> SafetensorsHeader {
    do {
      return try SafetensorsHeader(readingFrom: "\(path)/\(name)")
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
    let bytes = try wrapping { () throws(SystemError) in try files.read(chunk: index) }
    guard CRC32C.checksum(bytes) == manifest.chunkChecksums[index] else {
      throw .chunkDamaged(index: index)
    }
    return bytes
  }

  /// The policy's tensors, and where they lie in its flat space.
  public var layout: ParameterLayout { stateLayout[.policy].layout }

  /// Reads a model's master weights into their flat space, `[layout.count]`.
  ///
  /// - Precondition: The state has the model.
  public func loadWeights(
    of role: ModelRole = .policy, into flat: SharedRows<Float>
  ) throws(CheckpointError) {
    try load([.master(role)], into: [flat])
  }

  /// Reads the whole state, each part into its window.
  public func loadAll(into windows: [SharedRows<Float>]) throws(CheckpointError) {
    try load(stateLayout.parts, into: windows)
  }

  /// Reads whole parts. Every chunk that lies inside them is checked against the manifest.
  private func load(
    _ parts: [StateLayout.Part], into windows: [SharedRows<Float>]
  ) throws(CheckpointError) {
    var loaded: [Int: SharedRows<Float>] = [:]
    for (part, window) in zip(parts, windows) {
      guard let index = stateLayout.parts.firstIndex(of: part) else {
        preconditionFailure("the state has no \(part)")
      }
      guard window.count == chunks.counts[index] else {
        throw .layoutDiffers(elementCount: chunks.counts[index], expected: window.count)
      }
      try wrapping { () throws(SystemError) in try files.read(part: index, into: window) }
      loaded[index] = window
    }
    for index in 0..<chunks.chunkCount {
      let pieces = chunks.pieces(of: index)
      guard pieces.allSatisfy({ loaded[$0.part] != nil }) else { continue }
      var checksum: UInt32 = 0
      for piece in pieces {
        guard let window = loaded[piece.part] else { continue }
        checksum = window[piece.range].withBytes { CRC32C.checksum($0, seed: checksum) }
      }
      guard checksum == manifest.chunkChecksums[index] else { throw .chunkDamaged(index: index) }
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
      layout: stateLayout, phaseIndex: state.phaseIndex, step: state.step,
      tokensTotal: state.tokensTotal
    ) { (part, range, hash) throws(CheckpointError) in
      for start in stride(
        from: range.lowerBound, to: range.upperBound, by: StateChunks.chunkElementCount)
      {
        let end = min(start + StateChunks.chunkElementCount, range.upperBound)
        let piece = StateChunks.Piece(part: part, range: start..<end)
        hash.update(try wrapping { () throws(SystemError) in try files.read(piece) })
      }
    }
  }
}
