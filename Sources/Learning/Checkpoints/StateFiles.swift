internal import System
internal import Tensors

/// The three parts of a state, numbered as ``StateChunks`` numbers them.
enum StatePart: Int, CaseIterable, Sendable { case master, firstMoment, secondMoment }

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
      if !part.isEmpty {
        found.append((part, starts[low] + 4 * (part.lowerBound - parameter.offset)))
      }
      low += 1
    }
    return found
  }

  /// Where the bytes of a range of a part lie.
  private func places(
    of part: StatePart, _ range: Range<Int>
  ) -> [(flat: Range<Int>, fileOffset: Int, file: File)] {
    switch part {
    case .master: pieces(of: range).map { ($0.flat, $0.fileOffset, weights) }
    case .firstMoment: [(range, 4 * range.lowerBound, firstMoment)]
    case .secondMoment: [(range, 4 * range.lowerBound, secondMoment)]
    }
  }

  /// Writes a range of a part whose padding is zero.
  func write(
    _ part: StatePart, _ range: Range<Int>, _ bytes: ArraySlice<UInt8>
  ) throws(SystemError) {
    for place in places(of: part, range) {
      let start = bytes.startIndex + 4 * (place.flat.lowerBound - range.lowerBound)
      try place.file.write(bytes[start..<start + 4 * place.flat.count], at: place.fileOffset)
    }
  }

  /// Reads a range of a part; padding reads as zero.
  func read(_ part: StatePart, _ range: Range<Int>) throws(SystemError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 4 * range.count)
    for place in places(of: part, range) {
      let start = 4 * (place.flat.lowerBound - range.lowerBound)
      try place.file.read(
        at: place.fileOffset, into: &bytes, start..<start + 4 * place.flat.count)
    }
    return bytes
  }

  /// Reads a chunk; padding reads as zero.
  func read(_ chunks: StateChunks, _ index: Int) throws(SystemError) -> [UInt8] {
    var bytes: [UInt8] = []
    for piece in chunks.pieces(of: index) {
      bytes += try read(StatePart.allCases[piece.part], piece.range)
    }
    return bytes
  }

  /// Reads a range of a part into the flat window of that part; padding becomes zero.
  func read(
    _ part: StatePart, _ range: Range<Int>, into window: SharedRows<Float>
  ) throws(SystemError) {
    window[range].fill(with: 0)
    for place in places(of: part, range) {
      // The file is little-endian, as every supported host is.
      try window[place.flat].withMutableBytes { (bytes: inout MutableRawSpan) throws(SystemError) in
        try place.file.read(at: place.fileOffset, into: &bytes)
      }
    }
  }

  /// Sets to zero what the layout has as padding in a range of a part, whose bytes start at
  /// `bytes[start]`.
  func clearPadding(_ range: Range<Int>, in bytes: inout [UInt8], from start: Int) {
    func clear(_ gap: Range<Int>) {
      let first = start + 4 * (gap.lowerBound - range.lowerBound)
      for index in first..<first + 4 * gap.count { bytes[index] = 0 }
    }
    var end = range.lowerBound
    for piece in pieces(of: range) {
      clear(end..<piece.flat.lowerBound)
      end = piece.flat.upperBound
    }
    clear(end..<range.upperBound)
  }
}
