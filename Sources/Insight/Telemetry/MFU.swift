/// Model FLOP utilization: what share of the hardware's arithmetic a run really used.
///
///     MFU = FLOPs per token x tokens per second / peak
public enum MFU {
  /// The share as a fraction of 1; nil where the peak is unknown.
  ///
  /// - Parameters:
  ///   - flopsPerToken: By a formula of `Planning` that the reader is told.
  ///   - tokensPerSecond: Real tokens over wall time.
  ///   - peakGigaflops: All workers together.
  public static func fraction(
    flopsPerToken: Double, tokensPerSecond: Double, peakGigaflops: Double?
  ) -> Double? {
    guard let peakGigaflops, peakGigaflops > 0 else { return nil }
    return flopsPerToken * tokensPerSecond / (peakGigaflops * 1e9)
  }
}

/// What a multiply instruction does, for the nominal peak.
public enum MultiplyInstruction: Equatable, Sendable {
  /// Fused multiply-add on `f32`; kernels without a bf16 instruction use it for bf16 too.
  case fma
  /// `vdpbf16ps`.
  case bf16DotProduct
}

/// Nominal peaks of processors that say their name.
///
/// A hypervisor that hides the name, or a name that is not in the table, gives nil: a guess would
/// make every MFU wrong by an unknown factor. The time stamp counter's clock and the one in
/// /proc/cpuinfo are not used; neither is the clock under load.
public enum NominalPeak {
  private struct Family {
    /// FLOP per cycle and core; nil where we have no measurement or vendor figure to rely on.
    let fma: Double
    let bf16DotProduct: Double?
    /// Highest boost clock by model number, GHz, from the vendor's product pages.
    let clocks: [String: Double]
  }

  /// 2 units x 256 bits of FMA; vdpbf16ps (512 bits in two passes) 64 as measured on Zen 4.
  private static let zen4 = Family(
    fma: 32, bf16DotProduct: 64,
    clocks: [
      "EPYC 9124": 3.7, "EPYC 9174F": 4.4, "EPYC 9184X": 4.2, "EPYC 9224": 3.7, "EPYC 9254": 4.15,
      "EPYC 9274F": 4.3, "EPYC 9334": 3.9, "EPYC 9354": 3.8, "EPYC 9354P": 3.8,
      "EPYC 9374F": 4.3, "EPYC 9384X": 3.9, "EPYC 9454": 3.8, "EPYC 9454P": 3.8,
      "EPYC 9474F": 4.1, "EPYC 9534": 3.7, "EPYC 9554": 3.75, "EPYC 9554P": 3.75,
      "EPYC 9634": 3.7, "EPYC 9654": 3.7, "EPYC 9654P": 3.7, "EPYC 9684X": 3.7,
      "EPYC 9734": 3.0, "EPYC 9754": 3.1,
      "Ryzen 5 7600X": 5.3, "Ryzen 7 7700X": 5.4, "Ryzen 7 7800X3D": 5.0, "Ryzen 9 7900X": 5.6,
      "Ryzen 9 7950X": 5.7, "Ryzen 9 7950X3D": 5.7,
    ])

  /// Zen 2 and 3: 2 units x 256 bits of FMA, no bf16 instruction.
  private static let zen3 = Family(
    fma: 32, bf16DotProduct: nil,
    clocks: [
      "EPYC 7302": 3.3, "EPYC 7402": 3.35, "EPYC 7452": 3.35, "EPYC 7502": 3.35, "EPYC 7542": 3.4,
      "EPYC 7552": 3.3, "EPYC 7642": 3.3, "EPYC 7702": 3.35, "EPYC 7742": 3.4,
      "EPYC 7313": 3.7, "EPYC 7343": 3.9, "EPYC 7413": 3.6, "EPYC 7443": 4.0, "EPYC 7453": 3.45,
      "EPYC 7513": 3.65, "EPYC 7543": 3.7, "EPYC 7643": 3.6, "EPYC 7713": 3.675, "EPYC 7763": 3.5,
      "Ryzen 7 3700X": 4.4, "Ryzen 9 3900X": 4.6, "Ryzen 9 3950X": 4.7, "Ryzen 5 5600X": 4.6,
      "Ryzen 7 5800X": 4.7, "Ryzen 9 5900X": 4.8, "Ryzen 9 5950X": 4.9,
    ])

  /// Xeon with two 512-bit FMA units and no bf16 instruction.
  private static let xeon = Family(
    fma: 64, bf16DotProduct: nil,
    clocks: [
      "Gold 6230": 3.9, "Gold 6248": 3.9, "Gold 6330": 3.1, "Gold 6348": 3.5,
      "Platinum 8280": 4.0, "Platinum 8380": 3.4,
    ])

  /// Highest boost clock in GHz and FLOP per cycle and core; nil for a name that is not known.
  ///
  /// - Parameter processorName: As the kernel gives it (`Processor.name()`).
  public static func perCore(
    processorName: String?, instruction: MultiplyInstruction
  ) -> (gigahertz: Double, flopsPerCycle: Double)? {
    guard let processorName else { return nil }
    let words = processorName.split(separator: " ")
    for family in [zen4, zen3, xeon] {
      for (model, clock) in family.clocks {
        let wanted = model.split(separator: " ")
        let isNamed = words.indices.contains { start in
          words[start...].starts(with: wanted)
        }
        guard isNamed else { continue }
        let flops = instruction == .fma ? family.fma : family.bf16DotProduct
        return flops.map { (clock, $0) }
      }
    }
    return nil
  }

  /// Usable cores x highest boost clock x FLOP per cycle, GFLOP/s; nil where it is not known.
  public static func gigaflops(
    processorName: String?, instruction: MultiplyInstruction, coreCount: Double
  ) -> Double? {
    perCore(processorName: processorName, instruction: instruction)
      .map { coreCount * $0.gigahertz * $0.flopsPerCycle }
  }
}
