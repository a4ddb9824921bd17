internal import System

/// The version that `--version` prints.
public let coxswainVersion = "0.1.0"

/// The edge of a program: parses its arguments, runs it, prints what went wrong, exits.
public enum ProgramEdge {
  /// - Parameter body: Returns the exit code.
  public static func run(
    _ command: Command, arguments: [String], body: (Invocation) throws -> Int32
  ) -> Never {
    do {
      let width = environmentValue("COLUMNS").flatMap { Int($0) } ?? 80
      switch try command.parse(
        Array(arguments.dropFirst()), version: coxswainVersion, width: width)
      {
      case .show(let text):
        writeText(text.hasSuffix("\n") ? text : text + "\n", to: 1)
        leaveProcess(code: 0)
      case .run(let invocation): leaveProcess(code: try body(invocation))
      }
    } catch let error as any ProgramError {
      writeText(error.message + "\n", to: 2)
      leaveProcess(code: error.exitCode.rawValue)
    } catch {
      writeText("Error: \(error)\n", to: 2)
      leaveProcess(code: 1)
    }
  }
}

/// An error whose text and code were decided where it was seen.
public struct PlainError: ProgramError, Equatable {
  public let message: String
  public let exitCode: ExitCode
  public init(_ message: String, _ exitCode: ExitCode = .failure) {
    self.message = message.hasPrefix("Error:") ? message : "Error: \(message)"
    self.exitCode = exitCode
  }
}
