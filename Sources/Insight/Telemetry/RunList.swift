public import System

/// The runs below a folder.
public enum RunList {
  /// The run whose records changed last, or nil where there is none.
  ///
  /// - Parameter folder: Holds a folder for each run; may be missing.
  public static func newest(under folder: String) throws(SystemError) -> String? {
    guard try Files.info(folder)?.isDirectory == true else { return nil }
    var newest: (path: String, time: Int64)?
    for name in try Files.list(folder) {
      let path = "\(folder)/\(name)"
      var time: Int64?
      for file in [RunFile.metrics, RunFile.events, RunFile.plan] {
        guard let info = try? Files.info("\(path)/\(file)") else { continue }
        time = max(time ?? info.modifiedMilliseconds, info.modifiedMilliseconds)
      }
      if let time, time >= newest?.time ?? time { newest = (path, time) }
    }
    return newest?.path
  }
}
