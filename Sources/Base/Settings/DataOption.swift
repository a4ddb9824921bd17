internal import System

extension CommandOption {
  /// `--data`, the same for every program that takes a plan.
  public static let data = CommandOption.option(
    "data", "path",
    help: "A text file or folder in place of every phase's data; world: the generated world.")
}

extension Invocation {
  /// The source that `--data` names; nil where it is not given.
  ///
  /// - Throws: ``PlainError`` (64) where `world` may mean the generated world or what lies there.
  public func dataSource() throws(PlainError) -> String? {
    let source = text(CommandOption.data.name)
    guard source == "world", Files.exists("world") else { return source }
    throw PlainError(
      "--data world is the generated world, but there is a file or folder of that name here: "
        + "write --data ./world for it, or leave --data out for what the plan says", .usage)
  }
}
