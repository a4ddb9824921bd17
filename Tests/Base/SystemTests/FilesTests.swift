import Glibc
import System
import Testing

/// Runs `body` in a new folder that is removed afterwards.
@discardableResult
func withTemporaryDirectory<R>(_ body: (String) throws -> R) throws -> R {
  let folder = try Files.createTemporaryDirectory(prefix: "cox-test")
  defer { try? Files.removeTree(folder) }
  return try body(folder)
}

@Suite struct `Files and folders` {
  @Test func `a written file reads back, and nothing else is left beside it`() throws {
    try withTemporaryDirectory { folder in
      try Files.write("first", to: "\(folder)/a")
      try Files.write("second", to: "\(folder)/a")
      #expect(try Files.read("\(folder)/a") == Array("second".utf8))
      #expect(try Files.list(folder) == ["a"])
    }
  }

  @Test func `a write that cannot happen leaves the old bytes and names call, path and reason`()
    throws
  {
    try withTemporaryDirectory { folder in
      try Files.createDirectory("\(folder)/taken")
      try Files.write("x", to: "\(folder)/taken/inside")
      let error = #expect(throws: SystemError.self) {
        try Files.write("y", to: "\(folder)/taken")
      }
      #expect(error?.code == EISDIR)
      #expect(error.map { "\($0)" }?.hasPrefix("rename \(folder)/taken.writing") == true)
      #expect(error.map { "\($0)" }?.hasSuffix("Is a directory") == true)
      #expect(try Files.list(folder) == ["taken"])
    }
  }

  @Test func `a file above the limit is refused before it is read`() throws {
    try withTemporaryDirectory { folder in
      let path = "\(folder)/big"
      try Files.write([UInt8](repeating: 1, count: 100), to: path)
      #expect(throws: SystemError.tooLarge(path: path, byteCount: 100, limit: 99)) {
        try Files.read(path, byteCountMax: 99)
      }
    }
  }

  @Test func `a missing file is an error that says so`() throws {
    let error = #expect(throws: SystemError.self) { try Files.read("/nowhere/at/all") }
    #expect(error == .failed(call: "open", subject: "/nowhere/at/all", code: ENOENT))
    #expect(error?.isNotFound == true)
    #expect(error.map { "\($0)" } == "open /nowhere/at/all: No such file or directory")
    #expect(try Files.info("/nowhere/at/all") == nil)
  }

  @Test func `a full device is told from other failures`() throws {
    let error = #expect(throws: SystemError.self) {
      try File("/dev/full", .update).write([1, 2, 3], at: 0)
    }
    #expect(error?.isNoSpace == true)
  }

  @Test func `folders are created with parents, listed in byte order and removed with contents`()
    throws
  {
    try withTemporaryDirectory { folder in
      try Files.createDirectory("\(folder)/x/y/z")
      try Files.createDirectory("\(folder)/x/y/z")
      for name in ["b", "B", "a10", "a9"] { try Files.write(name, to: "\(folder)/x/\(name)") }
      #expect(try Files.list("\(folder)/x") == ["B", "a10", "a9", "b", "y"])
      #expect(try Files.info("\(folder)/x")?.isDirectory == true)
      #expect(try Files.info("\(folder)/x/a10")?.byteCount == 3)
      try Files.removeTree("\(folder)/x")
      try Files.removeTree("\(folder)/x")
      #expect(try Files.list(folder) == [])
    }
  }

  @Test func `a folder under a file cannot be created`() throws {
    try withTemporaryDirectory { folder in
      try Files.write("x", to: "\(folder)/file")
      #expect(throws: SystemError.self) { try Files.createDirectory("\(folder)/file") }
      #expect(throws: SystemError.self) { try Files.createDirectory("\(folder)/file/below") }
    }
  }

  @Test func `removing a tree does not follow symbolic links`() throws {
    try withTemporaryDirectory { folder in
      try Files.write("keep", to: "\(folder)/kept")
      try Files.createDirectory("\(folder)/tree")
      #expect(unsafe symlink(folder, "\(folder)/tree/link") == 0)
      try Files.removeTree("\(folder)/tree")
      #expect(try Files.list(folder) == ["kept"])
    }
  }

  @Test func `paths split into folder and name`() {
    #expect(Files.parent(of: "a/b") == "a")
    #expect(Files.parent(of: "/a") == "/")
    #expect(Files.parent(of: "a") == ".")
    #expect(Files.parent(of: "a/b/") == "a")
    #expect(Files.parent(of: "/") == "/")
    #expect(Files.name(of: "a/b/") == "b")
  }
}

@Suite struct `An open file` {
  @Test func `reads and writes at offsets, and short reads say how much is missing`() throws {
    try withTemporaryDirectory { folder in
      let path = "\(folder)/f"
      let file = try File(path, .create)
      try file.write([1, 2, 3, 4], at: 2)
      #expect(try file.byteCount() == 6)
      #expect(try file.read(at: 1, byteCount: 3) == [0, 1, 2])
      #expect(try file.read(at: 4, byteCount: 10) == [3, 4])
      #expect(throws: SystemError.endOfFile(path: path, missing: 2)) {
        var target = [UInt8](repeating: 0, count: 4)
        var span = target.mutableSpan
        var bytes = unsafe span.mutableBytes
        try file.read(at: 4, into: &bytes)
      }
      try file.truncate(to: 3)
      #expect(try file.byteCount() == 3)
      #expect(throws: SystemError.self) { try File(path, .create) }
    }
  }

  @Test func `appends to the end whatever was read before`() throws {
    try withTemporaryDirectory { folder in
      let first = try File("\(folder)/log", .append)
      let second = try File("\(folder)/log", .append)
      try first.append([1])
      try second.append([2])
      _ = try first.read(at: 0, byteCount: 1)
      try first.append([3])
      try first.synchronize()
      #expect(try Files.read("\(folder)/log") == [1, 2, 3])
    }
  }

  @Test func `a lock is held once and freed with its object`() throws {
    try withTemporaryDirectory { folder in
      var held = try FileLock("\(folder)/lock")
      #expect(held != nil)
      #expect(try FileLock("\(folder)/lock") == nil)
      held = nil
      #expect(try FileLock("\(folder)/lock") != nil)
    }
  }
}
