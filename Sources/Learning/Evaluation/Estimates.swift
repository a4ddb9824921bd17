/// The quantile of the normal distribution that 95 % intervals on both sides take.
private let quantile = 1.959_963_984_540_054

/// How often something was so, and how sure that is.
public struct Share: Equatable, Sendable {
  /// Halves where something was half so.
  public let count: Double
  public let total: Int

  /// - Precondition: `0 <= count <= total`, and there is something to share.
  public init(_ count: Double, of total: Int) {
    precondition(total > 0 && count >= 0 && count <= Double(total), "\(count) of \(total)")
    self.count = count
    self.total = total
  }

  public init(_ count: Int, of total: Int) { self.init(Double(count), of: total) }

  /// How many of `values` are true.
  public init(_ values: [Bool]) { self.init(values.count { $0 }, of: values.count) }

  public var value: Double { count / Double(total) }

  /// The shares that lie within 1.96 of their own deviations of the one found, at 95 %:
  ///
  ///     (p + z^2 / 2n  -+  z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)
  ///
  /// Halves spread less than the whole ones that it supposes, so with them it is too wide, never
  /// too narrow.
  ///
  /// - Source: Wilson 1927; Newcombe 1998, method 3.
  public var interval: ClosedRange<Double> {
    let (n, p) = (Double(total), value)
    let square = quantile * quantile
    let center = p + square / (2 * n)
    let reach = quantile * (p * (1 - p) / n + square / (4 * n * n)).squareRoot()
    // At the ends the formula gives 0 and 1 exactly; rounding would not.
    let low = count == 0 ? 0 : (center - reach) / (1 + square / n)
    return low...(count == n ? 1 : (center + reach) / (1 + square / n))
  }
}

/// How much more often one thing was so than another, of the same cases, and how sure that is.
public struct ShareDifference: Equatable, Sendable {
  /// `p - q`, shares of the one and of the other.
  public let value: Double
  /// From the intervals l...u and m...v of p and q, drawn together as far as both go together:
  ///
  ///     p - q - sqrt((p - l)^2 - 2 r (p - l) (v - q) + (v - q)^2)
  ///     p - q + sqrt((u - p)^2 - 2 r (u - p) (q - m) + (q - m)^2)
  ///
  /// r is their correlation, `(a d - b c) / sqrt((a + b) (c + d) (a + c) (b + d))` of the cases in
  /// which both, one, the other and none were so; where it is above 0, n / 2 is taken off its
  /// numerator, not below 0. So there is doubt left where the two never differed.
  ///
  /// - Source: Newcombe 1998 (paired data), method 10.
  public let interval: ClosedRange<Double>

  /// - Precondition: There are cases, as many of each.
  public init(_ one: [Bool], over other: [Bool]) {
    precondition(one.count == other.count, "\(one.count) cases over \(other.count)")
    func count(_ first: Bool, _ second: Bool) -> Double {
      Double(zip(one, other).count { $0 == first && $1 == second })
    }
    let (both, first, second, none) =
      (count(true, true), count(true, false), count(false, true), count(false, false))
    let (p, q) = (Share(one), Share(other))
    let scale = ((both + first) * (second + none) * (both + second) * (first + none)).squareRoot()
    let product = both * none - first * second
    let above = product > 0 ? max(product - Double(one.count) / 2, 0) : product
    let correlation = scale > 0 ? above / scale : 0
    func reach(_ a: Double, _ b: Double) -> Double {
      max(0, a * a - 2 * correlation * a * b + b * b).squareRoot()
    }
    value = (first - second) / Double(one.count)
    interval =
      value - reach(p.value - p.interval.lowerBound, q.interval.upperBound - q.value)
      ... value + reach(p.interval.upperBound - p.value, q.value - q.interval.lowerBound)
  }
}

/// A mean over things drawn one by one, and how sure it is.
public struct Mean: Equatable, Sendable {
  public let value: Double
  /// `value -+ 1.96` of its deviations: right for 30 things and more. The value alone for one.
  public let interval: ClosedRange<Double>

  /// Its deviation is `s / sqrt(n)`, `s` that of the values over n - 1.
  ///
  /// - Precondition: There are values, all finite.
  public init(_ values: [Double]) {
    self.init(sums: values, over: [Int](repeating: 1, count: values.count))
  }

  /// The mean over the parts of things which are drawn whole, such as tokens of conversations:
  /// `R = sum of sums / sum of counts`. Parts of one thing are alike, so that its variance is that
  /// of the ratio of two means over things:
  ///
  ///     n / (n - 1)  sum (sums_i - R counts_i)^2 / (sum of counts)^2
  ///
  /// - Precondition: There is a part, and all sums are finite.
  /// - Source: Cochran 1977, chapter 6 (ratio estimators).
  public init(sums: [Double], over counts: [Int]) {
    precondition(sums.count == counts.count, "\(sums.count) sums over \(counts.count) counts")
    precondition(sums.allSatisfy(\.isFinite), "sums that are not finite")
    let (n, total) = (Double(sums.count), Double(counts.reduce(0, +)))
    precondition(total > 0, "a mean over nothing")
    let mean = sums.reduce(0, +) / total
    let squares = zip(sums, counts).reduce(0) { squares, thing in
      let rest = thing.0 - mean * Double(thing.1)
      return squares + rest * rest
    }
    let reach = n > 1 ? quantile * (squares / (n - 1) * n).squareRoot() / total : 0
    value = mean
    interval = mean - reach...mean + reach
  }
}

extension Array {
  /// `limit` of the elements at even distances; all where there are no more.
  public func evenly(_ limit: Int?) -> [Element] {
    evenIndices(limit).map { self[$0] }
  }

  /// The places of ``evenly(_:)``.
  public func evenIndices(_ limit: Int?) -> [Int] {
    let chosen = Swift.min(limit ?? count, count)
    return (0..<chosen).map { $0 * count / chosen }
  }
}
