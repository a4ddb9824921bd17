import System
import Testing

/// The help pages, word for word as they lie in `Help/`.
///
/// After a change that is meant: `COX_RENEW_HELP=1 swift test -c release
/// --disable-testable-imports --filter 'The help pages'` writes them anew; read the difference.
@Suite struct `The help pages` {
  static let folder = "\(Files.parent(of: #filePath))/Help"
  /// Words of every command line that has a page.
  static let pages =
    ["coordinator", "worker", "cox"] + `The cox program`.commands.map { "cox \($0)" }

  private func path(_ page: String) -> String {
    "\(Self.folder)/\(page.split(separator: " ").joined(separator: "-")).txt"
  }

  @Test(arguments: pages) func `say what they said`(page: String) throws {
    let words = page.split(separator: " ").map(String.init)
    let found = command(words + ["--help"], environment: ["COLUMNS": "80"])
    #expect(found.code == 0)
    if environmentValue("COX_RENEW_HELP") != nil {
      try Files.createDirectory(Self.folder)
      try Files.write(found.output + "\n", to: path(page))
    }
    #expect(found.output + "\n" == fileText(path(page)), "\(page) --help is not \(path(page))")
  }

  @Test func `are all of a command that exists`() throws {
    let expected = Set(Self.pages.map { Files.name(of: path($0)) })
    #expect(Set(try Files.list(Self.folder)).subtracting(expected).isEmpty)
  }
}
