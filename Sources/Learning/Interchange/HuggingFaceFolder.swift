internal import Checkpoints
internal import Settings
internal import System
public import Tensors

/// A Llama-shaped model in a folder as `save_pretrained` writes it: `config.json`, and weights in
/// `model.safetensors` or in the files that `model.safetensors.index.json` lists.
///
/// Bytes come from anywhere. Opening checks every name, type, shape and offset against what
/// `config.json` asks for, so that nothing is allocated from a number that the weights do not bear
/// out; it throws, and never traps.
public struct HuggingFaceFolder: Sendable {
  /// One file of weights.
  private struct Part: Sendable {
    let file: File
    let header: SafetensorsHeader
  }

  static let weightsName = "model.safetensors"
  static let indexName = "model.safetensors.index.json"
  static let tokenizerName = "tokenizer.json"
  static let tokenizerConfigName = "tokenizer_config.json"
  static let templateName = "chat_template.jinja"
  private static let headName = "lm_head.weight"
  /// A model of a thousand layers has about 10,000 tensors, a line of 100 bytes each.
  private static let indexByteCountMax = 16 << 20
  /// Templates and settings hold some KiB, or MiB where thousands of tokens are listed.
  private static let textByteCountMax = 16 << 20

  public let path: String
  public let shape: ModelShape
  public let layout: ParameterLayout
  private let parts: [Part]
  /// Index in ``parts`` of each tensor.
  private let partOfName: [String: Int]

  /// Opens the folder and checks everything but the values.
  public init(_ path: String) throws(InterchangeError) {
    self.path = path
    let config = "\(path)/\(HuggingFaceConfig.fileName)"
    shape = try HuggingFaceConfig.shape(
      reading: try Self.read(config, byteCountMax: HuggingFaceConfig.byteCountMax), file: config)
    let index = try Self.index(path)
    var parts: [Part] = []
    var partOfName: [String: Int] = [:]
    for name in Set(index.map { Array($0.values) } ?? [Self.weightsName]).sorted() {
      let part = try Self.part("\(path)/\(name)")
      for tensor in part.header.tensors {
        guard index == nil || index?[tensor.name] == name else {
          throw .malformed(
            file: "\(path)/\(Self.indexName)",
            problem: "it does not say that tensor \(tensor.name) is in \(name)")
        }
        partOfName[tensor.name] = parts.count
      }
      parts.append(part)
    }
    self.parts = parts
    self.partOfName = partOfName
    layout = try Self.checkedLayout(shape, parts, partOfName, path)
  }

  /// The contents of `tokenizer.json`, or nil.
  public func tokenizer() throws(InterchangeError) -> [UInt8]? {
    let file = "\(path)/\(Self.tokenizerName)"
    return Files.exists(file) ? try Self.read(file, byteCountMax: 1 << 30) : nil
  }

  /// Whether the folder says how conversations are written for the model, in a file of its own or
  /// among the tokenizer's settings; what an export says of a model that never saw one is taken
  /// at its word.
  public func hasChatTemplate() throws(InterchangeError) -> Bool {
    let template = "\(path)/\(Self.templateName)"
    if Files.exists(template) {
      return !(try Self.read(template, byteCountMax: Self.textByteCountMax))
        .starts(with: HuggingFaceExport.untunedMark.utf8)
    }
    let settings = "\(path)/\(Self.tokenizerConfigName)"
    guard Files.exists(settings) else { return false }
    let node = try readJSON(
      try Self.read(settings, byteCountMax: Self.textByteCountMax), file: settings)
    return node["chat_template"].map { $0.value != .null } ?? false
  }

  // MARK: - Opening

  private static func read(
    _ file: String, byteCountMax: Int
  ) throws(InterchangeError) -> [UInt8] {
    do {
      return try Files.read(file, byteCountMax: byteCountMax)
    } catch {
      throw error.isNotFound ? .missing(file: file) : .system(error)
    }
  }

  /// The file of each tensor; nil where one file holds them all.
  private static func index(_ path: String) throws(InterchangeError) -> [String: String]? {
    let file = "\(path)/\(indexName)"
    guard !Files.exists("\(path)/\(weightsName)"), Files.exists(file) else { return nil }
    let node = try readJSON(try read(file, byteCountMax: indexByteCountMax), file: file)
    guard case .object(let members) = node["weight_map"]?.value else {
      throw .malformed(file: file, problem: "it has no \"weight_map\"")
    }
    var found: [String: String] = [:]
    for member in members {
      // A name that leads out of the folder is nobody's weights.
      guard let name = member.node.string, !name.isEmpty, !name.hasPrefix("."),
        !name.utf8.contains(UInt8(ascii: "/")), !name.utf8.contains(0)
      else {
        throw .malformed(
          file: file, problem: "\(member.key) is in \(member.node.inWords), which is no file name")
      }
      guard found.updateValue(name, forKey: member.key) == nil else {
        throw .malformed(file: file, problem: "\(member.key) stands there twice")
      }
    }
    return found
  }

  private static func part(_ path: String) throws(InterchangeError) -> Part {
    let header: SafetensorsHeader
    do {
      header = try SafetensorsHeader(readingFrom: path)
    } catch {
      switch error {
      case .system(let error): throw error.isNotFound ? .missing(file: path) : .system(error)
      case .format(let error): throw .weights(file: path, error)
      }
    }
    let file = try wrapping { () throws(SystemError) in try File(path, .read) }
    return Part(file: file, header: header)
  }

  /// The layout of the model, if the parts hold exactly its tensors.
  private static func checkedLayout(
    _ shape: ModelShape, _ parts: [Part], _ partOfName: [String: Int], _ path: String
  ) throws(InterchangeError) -> ParameterLayout {
    // As many tensors as layers ask for, before a layout of so many is made.
    guard partOfName.count >= 9 * shape.layerCount + 2 else {
      throw .malformed(
        file: path,
        problem: "\(partOfName.count) tensors are too few for \(shape.layerCount) layers")
    }
    let layout = ParameterLayout(shape)
    var known = Set(layout.parameters.map(\.name))
    for parameter in layout.parameters {
      guard let tensor = partOfName[parameter.name].flatMap({ parts[$0].header[parameter.name] })
      else { throw .tensorMissing(name: parameter.name, path: path) }
      try check(tensor, parameter.shape)
    }
    if shape.isHeadTied { known.insert(headName) }
    for part in parts {
      for tensor in part.header.tensors where !known.contains(tensor.name) {
        throw .tensorUnknown(name: tensor.name, file: part.file.path)
      }
    }
    return layout
  }

  private static func check(
    _ tensor: SafetensorsHeader.Tensor, _ expected: [Int]
  ) throws(InterchangeError) {
    guard [.f32, .bf16, .f16].contains(tensor.type) else {
      throw .tensorType(name: tensor.name, found: tensor.type.rawValue)
    }
    guard tensor.shape == expected else {
      throw .tensorShape(name: tensor.name, found: tensor.shape, expected: expected)
    }
  }

  // MARK: - Loading

  /// Elements that are read at once.
  private static let pieceCount = 1 << 20

  /// Reads the weights into their flat space, `[layout.count]`; what lies between tensors is zero.
  public func loadWeights(into master: SharedRows<Float>) throws(InterchangeError) {
    precondition(
      master.count == layout.count, "a master of \(master.count), a layout of \(layout.count)")
    master.fill(with: 0)
    for parameter in layout.parameters {
      try forEachPiece(of: parameter.name) { (range, values) throws(InterchangeError) in
        master[parameter.offset + range.lowerBound..<parameter.offset + range.upperBound]
          .copy(from: values)
      }
    }
    try checkTiedHead(master)
  }

  /// A tied model may store its head too, if it is the embedding.
  private func checkTiedHead(_ master: SharedRows<Float>) throws(InterchangeError) {
    guard shape.isHeadTied, let part = partOfName[Self.headName] else { return }
    let embedding = layout[.embedding]
    if let head = parts[part].header[Self.headName] { try Self.check(head, embedding.shape) }
    try forEachPiece(of: Self.headName) { (range, values) throws(InterchangeError) in
      let known = master[embedding.offset + range.lowerBound..<embedding.offset + range.upperBound]
      guard known.array == values else {
        throw .tiedHeadDiffers(file: parts[part].file.path)
      }
    }
  }

  /// The values of a tensor, run by run.
  private func forEachPiece(
    of name: String, _ body: (Range<Int>, [Float]) throws(InterchangeError) -> Void
  ) throws(InterchangeError) {
    guard let part = partOfName[name], let tensor = parts[part].header[name] else { return }
    let size = tensor.type.byteCount
    let start = parts[part].header.dataOffset + tensor.range.lowerBound
    let count = tensor.range.count / size
    for first in stride(from: 0, to: count, by: Self.pieceCount) {
      let range = first..<min(first + Self.pieceCount, count)
      let bytes = try wrapping { () throws(SystemError) in
        try parts[part].file.read(at: start + size * first, byteCount: size * range.count)
      }
      // The file may have been cut since its header was read.
      guard bytes.count == size * range.count else {
        throw .weights(file: parts[part].file.path, .tooShort(byteCount: bytes.count))
      }
      let values = Self.floats(bytes, tensor.type)
      guard values.allSatisfy(\.isFinite) else { throw .notFinite(name: name) }
      try body(range, values)
    }
  }

  /// Little-endian elements as `Float`, which holds each of them exactly.
  private static func floats(
    _ bytes: [UInt8], _ type: SafetensorsHeader.ElementType
  ) -> [Float] {
    let size = type.byteCount
    return (0..<bytes.count / size).map { index in
      var bits: UInt32 = 0
      for byte in 0..<size { bits |= UInt32(bytes[size * index + byte]) << (8 * byte) }
      switch type {
      case .bf16: return Float(bitPattern: bits << 16)
      case .f16: return Float(Float16(bitPattern: UInt16(truncatingIfNeeded: bits)))
      default: return Float(bitPattern: bits)
      }
    }
  }
}
