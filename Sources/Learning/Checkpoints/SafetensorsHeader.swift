/// Why a safetensors header is refused.
public enum SafetensorsError: Error, Equatable, Sendable {
  /// The file ends inside the header.
  case tooShort(byteCount: Int)
  case headerTooLarge(byteCount: UInt64, limit: Int)
  /// The header is not the JSON that the format asks for, at this byte of it.
  case malformed(offset: Int)
  case duplicateName(String)
  case unknownType(tensor: String, type: String)
  /// A tensor's bytes are not what its shape and type need.
  case sizeDiffers(tensor: String)
  /// A tensor does not start where the one before ends: bytes are shared or belong to none.
  case notContiguous(tensor: String)
  /// The tensors' bytes do not end where the file ends.
  case bufferDiffers(byteCount: Int, expected: Int)
}

extension SafetensorsError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .tooShort(let byteCount): "it ends too early, after \(byteCount) bytes"
    case .headerTooLarge(let byteCount, let limit):
      "its header claims \(byteCount) bytes; the limit is \(limit)"
    case .malformed(let offset): "its header is malformed at byte \(offset)"
    case .duplicateName(let name): "its header names \(name) twice"
    case .unknownType(let tensor, let type): "tensor \(tensor) is of the unknown type \(type)"
    case .sizeDiffers(let tensor): "tensor \(tensor) has other bytes than its shape needs"
    case .notContiguous(let tensor): "tensor \(tensor) does not start where the one before ends"
    case .bufferDiffers(let byteCount, let expected):
      "it holds \(byteCount) bytes of tensors instead of \(expected)"
    }
  }
}

/// The table of contents of a safetensors file.
///
///     u64 little-endian N | N bytes of JSON, padded with spaces | the tensors' bytes
///
/// Bytes come from anywhere, so reading checks every sum for overflow, takes no size on trust and
/// throws; it never traps.
///
/// - Source: the format page of huggingface/safetensors.
public struct SafetensorsHeader: Equatable, Sendable {
  /// Element types of the format.
  public enum ElementType: String, CaseIterable, Sendable {
    case f64 = "F64", f32 = "F32", f16 = "F16", bf16 = "BF16"
    case f8e4m3 = "F8_E4M3", f8e5m2 = "F8_E5M2"
    case i64 = "I64", i32 = "I32", i16 = "I16", i8 = "I8"
    case u64 = "U64", u32 = "U32", u16 = "U16", u8 = "U8", bool = "BOOL"

    public var byteCount: Int {
      switch self {
      case .f64, .i64, .u64: 8
      case .f32, .i32, .u32: 4
      case .f16, .bf16, .i16, .u16: 2
      case .f8e4m3, .f8e5m2, .i8, .u8, .bool: 1
      }
    }
  }

  /// One tensor: its type, shape and bytes.
  public struct Tensor: Equatable, Sendable {
    public let name: String
    public let type: ElementType
    public let shape: [Int]
    /// Counted from the first byte after the header.
    public let range: Range<Int>
  }

  /// The largest header that the format allows.
  public static let byteCountMax = 100_000_000

  /// In the order of their bytes.
  public let tensors: [Tensor]
  public let metadata: [String: String]
  /// Where the tensors' bytes start in the file.
  public let dataOffset: Int
  private let indexOfName: [String: Int]

  /// The tensor of this name.
  public subscript(_ name: String) -> Tensor? { indexOfName[name].map { tensors[$0] } }

  /// The length of the JSON text, from the first 8 bytes of a file of `fileByteCount` bytes.
  public static func jsonByteCount(
    prefix: [UInt8], fileByteCount: Int
  ) throws(SafetensorsError) -> Int {
    guard prefix.count == 8, fileByteCount >= 8 else { throw .tooShort(byteCount: fileByteCount) }
    let count = prefix.reversed().reduce(0 as UInt64) { $0 << 8 | UInt64($1) }
    guard count <= byteCountMax else {
      throw .headerTooLarge(byteCount: count, limit: byteCountMax)
    }
    guard Int(count) <= fileByteCount - 8 else { throw .tooShort(byteCount: fileByteCount) }
    return Int(count)
  }

  /// Reads the JSON text of a header.
  ///
  /// - Parameter fileByteCount: The whole file, which the tensors' bytes must fill exactly.
  public init(json: [UInt8], fileByteCount: Int) throws(SafetensorsError) {
    var reader = SafetensorsJSON(json)
    let entries = try reader.header()
    var found: [Tensor] = []
    for entry in entries.tensors {
      guard let type = ElementType(rawValue: entry.type) else {
        throw .unknownType(tensor: entry.name, type: entry.type)
      }
      guard
        let byteCount = Self.byteCount(shape: entry.shape, type: type),
        entry.begin <= entry.end, entry.end - entry.begin == byteCount
      else { throw .sizeDiffers(tensor: entry.name) }
      found.append(
        Tensor(name: entry.name, type: type, shape: entry.shape, range: entry.begin..<entry.end))
    }
    found.sort {
      ($0.range.lowerBound, $0.range.upperBound) < ($1.range.lowerBound, $1.range.upperBound)
    }
    var end = 0
    for tensor in found {
      guard tensor.range.lowerBound == end else { throw .notContiguous(tensor: tensor.name) }
      end = tensor.range.upperBound
    }
    let available = fileByteCount - 8 - json.count
    guard end == available else { throw .bufferDiffers(byteCount: available, expected: end) }
    self.init(tensors: found, metadata: entries.metadata, dataOffset: 8 + json.count)
  }

  private init(tensors: [Tensor], metadata: [String: String], dataOffset: Int) {
    self.tensors = tensors
    self.metadata = metadata
    self.dataOffset = dataOffset
    indexOfName = Dictionary(
      uniqueKeysWithValues: tensors.enumerated().map { ($0.element.name, $0.offset) })
  }

  private static func byteCount(shape: [Int], type: ElementType) -> Int? {
    var product = type.byteCount
    for dimension in shape {
      let (next, overflows) = product.multipliedReportingOverflow(by: dimension)
      guard !overflows else { return nil }
      product = next
    }
    return product
  }

  /// Lays out tensors of one type one after the other, in byte order of their names.
  ///
  /// - Parameter metadata: `format: pt` is what Hugging Face's own files say.
  public init(
    laying out: [(name: String, shape: [Int])], as type: ElementType,
    metadata: [String: String] = ["format": "pt"]
  ) {
    let sorted = out.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
    var offset = 0
    var found: [Tensor] = []
    for (name, shape) in sorted {
      let end = offset + shape.reduce(type.byteCount, *)
      found.append(Tensor(name: name, type: type, shape: shape, range: offset..<end))
      offset = end
    }
    let json = Self.json(tensors: found, metadata: metadata)
    self.init(tensors: found, metadata: metadata, dataOffset: 8 + json.count)
  }

  /// Bytes of the whole file.
  public var fileByteCount: Int { dataOffset + (tensors.last?.range.upperBound ?? 0) }

  /// The file's first ``dataOffset`` bytes.
  public var bytes: [UInt8] {
    let json = Self.json(tensors: tensors, metadata: metadata)
    return (0..<8).map { UInt8(truncatingIfNeeded: json.count >> (8 * $0)) } + json
  }

  private static func json(tensors: [Tensor], metadata: [String: String]) -> [UInt8] {
    var members: [String] = []
    if !metadata.isEmpty {
      let pairs = metadata.sorted { $0.key < $1.key }
        .map { "\(quoted($0.key)):\(quoted($0.value))" }
      members.append("\"__metadata__\":{\(pairs.joined(separator: ","))}")
    }
    for tensor in tensors {
      let shape = tensor.shape.map(String.init).joined(separator: ",")
      let range = "\(tensor.range.lowerBound),\(tensor.range.upperBound)"
      members.append(
        "\(quoted(tensor.name)):{\"dtype\":\"\(tensor.type.rawValue)\",\"shape\":[\(shape)],"
          + "\"data_offsets\":[\(range)]}")
    }
    var json = Array("{\(members.joined(separator: ","))}".utf8)
    while json.count % 8 != 0 { json.append(0x20) }
    return json
  }

  private static func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\u{0}"..."\u{1F}":
        let hex = String(scalar.value, radix: 16)
        result += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }
}
