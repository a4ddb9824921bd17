/// What a person asks the dense products to be computed by.
public enum MatmulChoice: String, CaseIterable, Sendable {
  /// Our kernels.
  case builtin
  /// A CBLAS of the system.
  case blas
  /// Whichever suits this processor, by a rule that is printed.
  case auto
}
