public import Tensors

extension CommandOption {
  /// `--matmul`, the same for every program that computes.
  public static let matmul = CommandOption.option(
    "matmul", "backend", .choice(MatmulChoice.allCases.map(\.rawValue)),
    default: MatmulChoice.builtin.rawValue,
    help: "Dense products: builtin kernels, the system's blas, or auto.")
}

extension Invocation {
  public var matmul: MatmulChoice {
    text(CommandOption.matmul.name).flatMap(MatmulChoice.init(rawValue:)) ?? .builtin
  }
}
