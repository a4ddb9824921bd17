import Checkpoints
import System
import Testing

@Suite struct `A safetensors header` {
  private func parse(_ json: String, dataByteCount: Int) throws(SafetensorsError)
    -> SafetensorsHeader
  {
    let bytes = Array(json.utf8)
    return try SafetensorsHeader(json: bytes, fileByteCount: 8 + bytes.count + dataByteCount)
  }

  private func tensor(_ name: String, _ type: String, _ shape: String, _ range: String) -> String {
    "\"\(name)\":{\"dtype\":\"\(type)\",\"shape\":[\(shape)],\"data_offsets\":[\(range)]}"
  }

  @Test func `reads what it writes`() throws {
    let header = SafetensorsHeader(
      laying: [("b.weight", [3, 2]), ("a \"quoted\"\n\u{E9}", [5]), ("c", [])], as: .f32)
    #expect(header.tensors.map(\.name) == ["a \"quoted\"\n\u{E9}", "b.weight", "c"])
    #expect(header.tensors.map(\.range) == [0..<20, 20..<44, 44..<48])
    let bytes = header.bytes
    #expect(bytes.count == header.dataOffset)
    #expect(bytes.count % 8 == 0)
    let count = try SafetensorsHeader.jsonByteCount(
      prefix: Array(bytes[..<8]), fileByteCount: header.fileByteCount)
    #expect(count == bytes.count - 8)
    let again = try SafetensorsHeader(
      json: Array(bytes[8...]), fileByteCount: header.fileByteCount)
    #expect(again == header)
    #expect(again.metadata == ["format": "pt"])
    #expect(again["b.weight"]?.shape == [3, 2])
    #expect(again["missing"] == nil)
  }

  @Test func `takes every spelling that JSON allows`() throws {
    let header = try parse(
      "{ \"\\u0061\\ud83d\\ude00\\/\" :\t{\"shape\" : [ 2 , 0 ] ,\n\"data_offsets\":[0 ,0],"
        + "\"dtype\":\"BF16\"}, \"__metadata__\":{} }  ", dataByteCount: 0)
    #expect(header.tensors.map(\.name) == ["a\u{1F600}/"])
    #expect(try parse("{}", dataByteCount: 0).tensors == [])
  }

  @Test func `refuses what is not exactly the format`() {
    let one = tensor("a", "F32", "2", "0,8")
    let cases: [(String, Int, SafetensorsError)] = [
      ("{\(one),\(one)}", 8, .duplicateName("a")),
      ("{\(tensor("a", "F31", "2", "0,8"))}", 8, .unknownType(tensor: "a", type: "F31")),
      ("{\(tensor("a", "F32", "2", "0,7"))}", 7, .sizeDiffers(tensor: "a")),
      ("{\(tensor("a", "F32", "2", "8,0"))}", 8, .sizeDiffers(tensor: "a")),
      (
        "{\(tensor("a", "F64", "4294967296,4294967296", "0,0"))}", 0, .sizeDiffers(tensor: "a")
      ),
      ("{\(tensor("a", "F32", "2", "4,12"))}", 12, .notContiguous(tensor: "a")),
      ("{\(one),\(tensor("b", "F32", "2", "4,12"))}", 12, .notContiguous(tensor: "b")),
      ("{\(one),\(tensor("b", "F32", "1", "12,16"))}", 16, .notContiguous(tensor: "b")),
      ("{\(one)}", 9, .bufferDiffers(byteCount: 9, expected: 8)),
      ("{\(one)}", 7, .bufferDiffers(byteCount: 7, expected: 8)),
      ("", 0, .malformed(offset: 0)),
      (" {}", 0, .malformed(offset: 0)),
      ("{}x", 0, .malformed(offset: 2)),
      ("{\"a\":1}", 0, .malformed(offset: 5)),
      ("{\"a\":{}}", 0, .malformed(offset: 5)),
      ("{\"__metadata__\":{\"k\":1}}", 0, .malformed(offset: 21)),
      ("{\"__metadata__\":{\"k\":\"\",\"k\":\"\"}}", 0, .duplicateName("k")),
      ("{\(tensor("a", "F32", "-2", "0,8"))}", 8, .malformed(offset: 29)),
      ("{\(tensor("a", "F32", "99999999999999999999", "0,8"))}", 8, .malformed(offset: 29)),
      ("{\"\\ud800\":{}}", 0, .malformed(offset: 4)),
      ("{\"a", 0, .malformed(offset: 3)),
    ]
    for (json, dataByteCount, expected) in cases {
      #expect(throws: expected, "\(json)") { try parse(json, dataByteCount: dataByteCount) }
    }
  }

  @Test func `takes no length on trust`() {
    let huge = [UInt8](repeating: 0xFF, count: 8)
    #expect(
      throws: SafetensorsError.headerTooLarge(
        byteCount: .max, limit: SafetensorsHeader.byteCountMax)
    ) { try SafetensorsHeader.jsonByteCount(prefix: huge, fileByteCount: 100) }
    #expect(throws: SafetensorsError.tooShort(byteCount: 100)) {
      try SafetensorsHeader.jsonByteCount(prefix: [93, 0, 0, 0, 0, 0, 0, 0], fileByteCount: 100)
    }
    #expect(throws: SafetensorsError.tooShort(byteCount: 3)) {
      try SafetensorsHeader.jsonByteCount(prefix: [1, 2, 3], fileByteCount: 3)
    }
  }

  @Test func `never traps, whatever bytes are changed`() {
    let good = SafetensorsHeader(
      laying: [("model.norm.weight", [4]), ("lm_head.weight", [3, 4])], as: .f32)
    let json = Array(good.bytes[8...])
    let digits = Array("0123456789{}[]\",:\\u-.e \u{7F}".utf8)
    var state: UInt64 = 1
    func draw(_ bound: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int((state >> 33) % UInt64(bound))
    }
    var refused = 0
    for _ in 0..<20_000 {
      var bytes = json
      for _ in 0...draw(4) {
        switch draw(3) {
        case 0: bytes[draw(bytes.count)] = digits[draw(digits.count)]
        case 1: bytes.remove(at: draw(bytes.count))
        default: bytes.insert(digits[draw(digits.count)], at: draw(bytes.count))
        }
      }
      do {
        _ = try SafetensorsHeader(json: bytes, fileByteCount: good.fileByteCount)
      } catch {
        refused += 1
      }
    }
    #expect(refused > 15_000)
  }
}
