internal import CKernels
internal import System
public import Tensors

extension Engine {
  /// GFLOP/s of the calling thread's core: independent multiply-adds on registers only, with the
  /// instruction that products of this variant and precision use.
  ///
  /// bf16 without a bf16 instruction multiplies in f32, so its peak is that of f32.
  /// Time is that of the thread on its processor, so that other load on the host takes nothing from
  /// the peak. The best sample counts, because whatever else disturbs a probe only slows it.
  ///
  /// - Parameter seconds: How long to measure, and longer until there is a sample.
  public static func peakGigaflops(
    variant: KernelVariant, precision: Precision, seconds: Double = 0.05
  ) -> Double {
    let isFloat: Int32 = precision == .f32 ? 1 : 0
    var roundCount = 1000
    var best = 0.0
    // Long against a call of the clock (some 300 ns), short against a scheduler's slice (3 ms).
    let sampleSeconds = 2e-4
    let end = Clock.threadSeconds + seconds
    while Clock.threadSeconds < end || best == 0 {
      let start = Clock.threadSeconds
      let operationCount = unsafe ck_probe(variant.name, isFloat, roundCount)
      let elapsed = Clock.threadSeconds - start
      if elapsed < sampleSeconds {
        roundCount *= 2
      } else {
        best = max(best, operationCount / elapsed * 1e-9)
      }
    }
    return best
  }
}

extension Engine {
  /// The kernels whose instruction sets the peak: a BLAS may use better ones than ours may.
  public var peakVariant: KernelVariant { blas == nil ? variant : .best }

  /// GFLOP/s of the whole team: all members probe at the same moment, as they compute in a step.
  public func teamPeakGigaflops(seconds: Double = 0.05) -> Double {
    let rates = AlignedStorage(count: team.memberCount, filledWith: 0.0).rows
    team.run(PeakJob(variant: peakVariant, precision: precision, seconds: seconds, rates: rates))
    return (0..<rates.count).reduce(0) { $0 + rates[$1] }
  }
}

private struct PeakJob: TeamJob {
  let variant: KernelVariant
  let precision: Precision
  let seconds: Double
  let rates: SharedRows<Double>

  func run(member: Int, memberCount: Int) {
    rates[member] = Engine.peakGigaflops(
      variant: variant, precision: precision, seconds: seconds)
  }
}
