import Settings
import System
import Testing

/// What a script of Tests/Parity wrote.
func parityFile(_ name: String) throws -> JSONNode {
  let folder = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3)
  let path = folder.joined(separator: "/") + "/Parity/" + name
  return try JSONReader.read(String(decoding: try Files.read(path), as: UTF8.self))
}

extension JSONNode {
  func number(_ key: String) throws -> Double { try #require(self[key]?.double) }
  func flag(_ key: String) throws -> Bool { try #require(self[key]?.bool as Bool?) }
  func list(_ key: String) throws -> [JSONNode] { try #require(self[key]?.elements) }
  func numbers(_ key: String) throws -> [Double] {
    try list(key).map { try #require($0.double) }
  }
  func tokens(_ key: String) throws -> [UInt32] { try numbers(key).map { UInt32($0) } }
}
