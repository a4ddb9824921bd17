internal import System
internal import Tensors

/// The three files that hold a checkpoint's state, and where each flat range lies in them.
///
/// The moments lie flat, in the order and with the padding of the layout. The master weights lie
/// in `model.safetensors` tensor by tensor in byte order of their names, without padding, so that
/// the file opens in any program that reads Hugging Face models.
struct StateFiles: Sendable {
  let layout: ParameterLayout
  let header: SafetensorsHeader
  let weights: File
  let firstMoment: File
  let secondMoment: File
  /// Where the bytes of the i-th parameter of the layout start in `model.safetensors`.
  private let starts: [Int]

  /// - Precondition: `header` has every tensor of the layout (see ``missingTensor(of:in:)``).
  init(
    layout: ParameterLayout, header: SafetensorsHeader, folder: String, access: File.Access
  ) throws(CheckpointError) {
    self.layout = layout
    self.header = header
    let open = { (name: String) throws(CheckpointError) in
      try wrapping { () throws(SystemError) in try File("\(folder)/\(name)", access) }
    }
    weights = try open(CheckpointFile.weights)
    firstMoment = try open(CheckpointFile.firstMoment)
    secondMoment = try open(CheckpointFile.secondMoment)
    starts = layout.parameters.map { parameter in
      guard let tensor = header[parameter.name] else {
        preconditionFailure("the header lacks \(parameter.name)")
      }
      return header.dataOffset + tensor.range.lowerBound
    }
  }

  /// The header that the layout's weights have.
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

  /// Parts of tensors inside a flat range of the master weights: their flat range and where their
  /// bytes lie in the file. Ascending; what lies between them is padding.
  func pieces(of range: Range<Int>) -> [(flat: Range<Int>, fileOffset: Int)] {
    var found: [(flat: Range<Int>, fileOffset: Int)] = []
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
      let parameter = layout.parameters[low]
      let part = parameter.range.clamped(to: range)
      if !part.isEmpty { found.append((part, starts[low] + 4 * (part.lowerBound - parameter.offset))) }
      low += 1
    }
    return found
  }

  /// The file of a moment; nil for the master weights.
  private func momentFile(_ part: StateChunks.Part) -> File? {
    switch part {
    case .master: nil
    case .firstMoment: firstMoment
    case .secondMoment: secondMoment
    }
  }

  /// Writes a chunk whose padding is zero.
  func write(_ chunk: StateChunks.Chunk, _ bytes: [UInt8]) throws(SystemError) {
    if let file = momentFile(chunk.part) {
      return try file.write(bytes, at: 4 * chunk.range.lowerBound)
    }
    for piece in pieces(of: chunk.range) {
      let start = 4 * (piece.flat.lowerBound - chunk.range.lowerBound)
      // SAFETY: bytes have no padding; the span lives as long as the array is borrowed.
      let part = unsafe bytes.span.bytes.extracting(start..<start + 4 * piece.flat.count)
      try weights.write(part, at: piece.fileOffset)
    }
  }

  /// Reads a chunk; padding reads as zero.
  func read(_ chunk: StateChunks.Chunk) throws(SystemError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: chunk.byteCount)
    for piece in places(of: chunk) {
      let start = 4 * (piece.flat.lowerBound - chunk.range.lowerBound)
      let part = try piece.file.read(at: piece.fileOffset, byteCount: 4 * piece.flat.count)
      guard part.count == 4 * piece.flat.count else {
        throw .endOfFile(path: piece.file.path, missing: 4 * piece.flat.count - part.count)
      }
      bytes.replaceSubrange(start..<start + part.count, with: part)
    }
    return bytes
  }

  /// Reads a chunk into the flat window of its part; padding becomes zero.
  func read(_ chunk: StateChunks.Chunk, into window: SharedRows<Float>) throws(SystemError) {
    window[chunk.range].fill(with: 0)
    for piece in places(of: chunk) {
      try window[piece.flat].withMutableSpan { (span: inout MutableSpan<Float>) throws(SystemError) in
        // SAFETY: every bit pattern is a Float, and the file is little-endian as the host is.
        var bytes = unsafe span.mutableBytes
        try piece.file.read(at: piece.fileOffset, into: &bytes)
      }
    }
  }

  private func places(
    of chunk: StateChunks.Chunk
  ) -> [(flat: Range<Int>, fileOffset: Int, file: File)] {
    if let file = momentFile(chunk.part) {
      return [(chunk.range, 4 * chunk.range.lowerBound, file)]
    }
    return pieces(of: chunk.range).map { ($0.flat, $0.fileOffset, weights) }
  }

  /// `bytes` with zeros where the layout has padding.
  func withoutPadding(_ chunk: StateChunks.Chunk, _ bytes: [UInt8]) -> [UInt8] {
    var result = bytes
    var end = chunk.range.lowerBound
    let clear = { (gap: Range<Int>) in
      for index in 4 * (gap.lowerBound - chunk.range.lowerBound)
        ..< 4 * (gap.upperBound - chunk.range.lowerBound)
      {
        result[index] = 0
      }
    }
    for piece in pieces(of: chunk.range) {
      clear(end..<piece.flat.lowerBound)
      end = piece.flat.upperBound
    }
    clear(end..<chunk.range.upperBound)
    return result
  }
}
