internal import System
internal import Tensors

/// The files that hold a checkpoint's state, one for each part, and where its elements lie in them.
///
/// Moments and rollouts lie flat, in the order and with the padding of their window. Master weights
/// lie in safetensors files tensor by tensor in byte order of their names, without padding, so that
/// these open in any program that reads Hugging Face models.
struct StateFiles: Sendable {
  let layout: StateLayout
  /// By index in the layout's parts.
  private let files: [PartFile]

  private struct PartFile: Sendable {
    let file: File
    let count: Int
    /// What tells tensors from padding; nil for rollouts, which have neither.
    let parameters: ParameterLayout?
    /// Of master weights: the file's header, and where the bytes of the i-th parameter start.
    var header: SafetensorsHeader?
    var starts: [Int] = []
  }

  /// - Precondition: `headers` has every tensor of the layout's models (see
  ///   ``missingTensor(of:in:)``).
  init(
    layout: StateLayout, headers: [ModelRole: SafetensorsHeader], folder: String,
    access: File.Access
  ) throws(CheckpointError) {
    self.layout = layout
    files = try layout.parts.map { (part) throws(CheckpointError) in
      let file = try wrapping { () throws(SystemError) in
        try File("\(folder)/\(CheckpointFile.name(of: part))", access)
      }
      switch part {
      case .rollouts:
        return PartFile(file: file, count: layout.rolloutCount, parameters: nil)
      case .firstMoment(let role), .secondMoment(let role):
        let parameters = layout[role].layout
        return PartFile(file: file, count: parameters.count, parameters: parameters)
      case .master(let role):
        let parameters = layout[role].layout
        let header = headers[role] ?? Self.header(for: parameters)
        let starts = parameters.parameters.map { parameter in
          guard let tensor = header[parameter.name] else {
            preconditionFailure("the header lacks \(parameter.name)")
          }
          return header.dataOffset + tensor.range.lowerBound
        }
        return PartFile(
          file: file, count: parameters.count, parameters: parameters, header: header,
          starts: starts)
      }
    }
  }

  /// The header that a model's weights have.
  static func header(for layout: ParameterLayout) -> SafetensorsHeader {
    SafetensorsHeader(laying: layout.parameters.map { ($0.name, $0.shape) }, as: .f32)
  }

  /// The first tensor of the layout that `header` does not hold as `f32` of the same shape.
  static func missingTensor(of layout: ParameterLayout, in header: SafetensorsHeader) -> String? {
    layout.parameters.first { parameter in
      let tensor = header[parameter.name]
      return tensor?.type != .f32 || tensor?.shape != parameter.shape
    }?.name
  }

  /// Reserves the room that every part needs, and writes the headers.
  func prepare() throws(SystemError) {
    for part in files {
      try part.file.reserve(byteCount: part.header?.fileByteCount ?? 4 * part.count)
      if let header = part.header { try part.file.write(header.bytes, at: 0) }
    }
  }

  /// The first file that has not the size that its part needs, that size and its own.
  func wrongSize() throws(SystemError) -> (path: String, found: Int, expected: Int)? {
    for part in files where part.header == nil {
      let found = try part.file.byteCount()
      if found != 4 * part.count { return (part.file.path, found, 4 * part.count) }
    }
    return nil
  }

  /// Parts of tensors inside a range of a part: their range in it and their place among the
  /// parameters. Ascending; what lies between them is padding.
  private func pieces(
    of range: Range<Int>, _ layout: ParameterLayout
  ) -> [(range: Range<Int>, parameter: Int)] {
    var found: [(range: Range<Int>, parameter: Int)] = []
    // The first parameter that ends after the range's start.
    var low = 0
    var high = layout.parameters.count
    while low < high {
      let middle = (low + high) / 2
      if layout.parameters[middle].range.upperBound <= range.lowerBound {
        low = middle + 1
      } else {
        high = middle
      }
    }
    while low < layout.parameters.count, layout.parameters[low].offset < range.upperBound {
      let piece = layout.parameters[low].range.clamped(to: range)
      if !piece.isEmpty { found.append((piece, low)) }
      low += 1
    }
    return found
  }

  /// Where the elements of a range of a part lie in its file.
  private func places(
    of part: PartFile, _ range: Range<Int>
  ) -> [(range: Range<Int>, offset: Int)] {
    guard part.header != nil, let layout = part.parameters else {
      return [(range, 4 * range.lowerBound)]
    }
    return pieces(of: range, layout).map { piece in
      let inside = piece.range.lowerBound - layout.parameters[piece.parameter].offset
      return (piece.range, part.starts[piece.parameter] + 4 * inside)
    }
  }

  /// Writes a piece of a chunk, whose padding is zero.
  func write(_ piece: StateChunks.Piece, _ bytes: ArraySlice<UInt8>) throws(SystemError) {
    let part = files[piece.part]
    for place in places(of: part, piece.range) {
      let start = bytes.startIndex + 4 * (place.range.lowerBound - piece.range.lowerBound)
      try part.file.write(bytes[start..<start + 4 * place.range.count], at: place.offset)
    }
  }

  /// Reads a piece of a chunk; padding reads as zero.
  func read(_ piece: StateChunks.Piece) throws(SystemError) -> [UInt8] {
    let part = files[piece.part]
    var bytes = [UInt8](repeating: 0, count: 4 * piece.range.count)
    for place in places(of: part, piece.range) {
      let start = 4 * (place.range.lowerBound - piece.range.lowerBound)
      try part.file.read(at: place.offset, into: &bytes, start..<start + 4 * place.range.count)
    }
    return bytes
  }

  /// Reads a chunk; padding reads as zero.
  func read(chunk index: Int) throws(SystemError) -> [UInt8] {
    var bytes: [UInt8] = []
    for piece in layout.chunks.pieces(of: index) { bytes += try read(piece) }
    return bytes
  }

  /// Reads a whole part into its window; padding becomes zero.
  func read(part index: Int, into window: SharedRows<Float>) throws(SystemError) {
    let part = files[index]
    window.fill(with: 0)
    for place in places(of: part, 0..<part.count) {
      // The file is little-endian, as every supported host is.
      try window[place.range].withMutableBytes {
        (bytes: inout MutableRawSpan) throws(SystemError) in
        try part.file.read(at: place.offset, into: &bytes)
      }
    }
  }

  /// Sets to zero what the layout has as padding in a piece of a chunk, whose bytes start at
  /// `bytes[start]`.
  func clearPadding(_ piece: StateChunks.Piece, in bytes: inout [UInt8], from start: Int) {
    guard let layout = files[piece.part].parameters else { return }
    func clear(_ gap: Range<Int>) {
      let first = start + 4 * (gap.lowerBound - piece.range.lowerBound)
      for index in first..<first + 4 * gap.count { bytes[index] = 0 }
    }
    var end = piece.range.lowerBound
    for tensor in pieces(of: piece.range, layout) {
      clear(end..<tensor.range.lowerBound)
      end = tensor.range.upperBound
    }
    clear(end..<piece.range.upperBound)
  }
}
