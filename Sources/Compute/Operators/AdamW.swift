internal import CKernels
public import Tensors

/// The numbers of one AdamW step, for all elements of a range alike.
public struct AdamWArguments: Equatable, Sendable {
  /// Multiplies the summed gradient: 1 / tokens, times the clip factor.
  public var scale: Float
  /// Step size, any schedule applied.
  public var learningRate: Double
  public var beta1: Double
  public var beta2: Double
  /// Added to the root of the second moment.
  public var epsilon: Double
  /// Decoupled: the master value shrinks by `learningRate * weightDecay` of itself. 0 for gains.
  public var weightDecay: Double
  /// `1 - beta1^t`, t counting from 1.
  public var correction1: Double
  /// `1 - beta2^t`.
  public var correction2: Double

  public init(
    scale: Float, learningRate: Double, beta1: Double, beta2: Double, epsilon: Double,
    weightDecay: Double, correction1: Double, correction2: Double
  ) {
    self.scale = scale
    self.learningRate = learningRate
    self.beta1 = beta1
    self.beta2 = beta2
    self.epsilon = epsilon
    self.weightDecay = weightDecay
    self.correction1 = correction1
    self.correction2 = correction2
  }
}

/// One AdamW step over a flat range, in one pass over memory.
///
///     g = scale * gradient
///     m = beta1 m + (1 - beta1) g          v = beta2 v + (1 - beta2) g^2
///     w = w (1 - rate * decay) - rate / correction1 * m / (sqrt(v / correction2) + epsilon)
///
/// It is a value that team members share: each calls ``update(_:)`` on its own rows and may then
/// pack them while they are in its cache. The bits do not depend on how the range is cut.
///
/// - Source: Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2.
@safe
public struct AdamWStep: @unchecked Sendable {
  // SAFETY (@unchecked Sendable): the windows are shared as `SharedRows` documents.
  public let count: Int
  private let windows: (SharedRows<Float>, SharedRows<Float>, SharedRows<Float>, SharedRows<Float>)
  let arguments: ck_adamw_args
  /// Master weight and both moments are read and written, the gradient is read.
  static let passCount = 7
  fileprivate let kernels: ck_adamw_kernels

  fileprivate init(
    master: SharedRows<Float>, firstMoment: SharedRows<Float>, secondMoment: SharedRows<Float>,
    gradient: SharedRows<Float>, _ numbers: AdamWArguments, _ kernels: ck_adamw_kernels
  ) {
    count = master.count
    for (name, window) in [
      ("first moment", firstMoment), ("second moment", secondMoment), ("gradient", gradient),
    ] {
      precondition(window.count == master.count, "\(name) \(window.count), master \(master.count)")
    }
    windows = (master, firstMoment, secondMoment, gradient)
    self.kernels = kernels
    // SAFETY: the four windows hold `count` elements and live as long as `windows`.
    unsafe arguments = ck_adamw_args(
      master: master.baseAddress, first_moment: firstMoment.baseAddress,
      second_moment: secondMoment.baseAddress, gradient: gradient.baseAddress,
      count: master.count, scale: numbers.scale,
      beta1: Float(numbers.beta1), beta2: Float(numbers.beta2),
      gain1: Float(1 - numbers.beta1), gain2: Float(1 - numbers.beta2),
      step: Float(numbers.learningRate / numbers.correction1),
      root_scale: Float(1 / numbers.correction2.squareRoot()),
      epsilon: Float(numbers.epsilon),
      keep: Float(1 - numbers.learningRate * numbers.weightDecay))
  }

  /// Updates elements `range` on the calling thread, which flushes subnormals as team members do.
  public func update(_ range: Range<Int>) {
    precondition(
      range.lowerBound >= 0 && range.upperBound <= count, "\(range) is outside 0..<\(count)")
    unsafe withUnsafePointer(to: arguments) {
      unsafe kernels.update_range($0, range.lowerBound, range.upperBound)
    }
  }
}

extension Engine {
  /// Updates master weights and moments, each a window of one flat range.
  ///
  /// - Parameters:
  ///   - master, firstMoment, secondMoment: Updated.
  ///   - gradient: Summed over tokens; `numbers.scale` makes it a mean.
  public func adamW(
    master: SharedRows<Float>, firstMoment: SharedRows<Float>, secondMoment: SharedRows<Float>,
    gradient: SharedRows<Float>, _ numbers: AdamWArguments
  ) {
    let step = adamWStep(
      master: master, firstMoment: firstMoment, secondMoment: secondMoment, gradient: gradient,
      numbers)
    unsafe run(
      step.kernels.update, step.arguments, .optimizer,
      moving: AdamWStep.passCount * master.byteCount)
  }

  /// The same step as a value, for a job that updates and packs rows in one go.
  public func adamWStep(
    master: SharedRows<Float>, firstMoment: SharedRows<Float>, secondMoment: SharedRows<Float>,
    gradient: SharedRows<Float>, _ numbers: AdamWArguments
  ) -> AdamWStep {
    AdamWStep(
      master: master, firstMoment: firstMoment, secondMoment: secondMoment, gradient: gradient,
      numbers, rowKernels.adamw)
  }
}
