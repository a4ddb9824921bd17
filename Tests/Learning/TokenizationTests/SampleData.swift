internal import System

/// Real text that lies beside the repository, where there is any.
enum SampleData {
  static let directory: String = {
    if let given = environmentValue("COX_DATA") { return given }
    let parts = #filePath.split(separator: "/", omittingEmptySubsequences: false)
    return parts.dropLast(4).joined(separator: "/") + "/../shared/data"
  }()

  static func path(_ name: String) -> String { "\(directory)/\(name)" }
  static func has(_ name: String) -> Bool { Files.exists(path(name)) }
  static func read(_ name: String) throws(SystemError) -> [UInt8] { try Files.read(path(name)) }
}
