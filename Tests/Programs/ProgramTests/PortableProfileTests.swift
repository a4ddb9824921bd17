import System
import Testing

/// The variants of the profile `portable` that this processor runs, as `cox doctor` lists them.
private let variants: [String] = {
  let report = command(["cox", "doctor"]).output
  guard let start = report.firstRange(of: "(can run: ") else { return [] }
  return report[start.upperBound...].prefix { $0 != ")" }.split(separator: ",")
    .map { String($0.drop { $0 == " " }) }.filter { $0 != "avx512bf16" }
}()

/// Which kernels a worker runs is no input of a run, as long as their profile is one.
@Suite(.serialized) struct `A run of the portable profile` {
  /// What one worker with the scalar kernels makes of the smoke plan.
  static let reference: RealCluster.Outcome? = try? outcome(of: ["scalar"])

  /// A run of one worker for each name.
  static func outcome(of kernels: [String]) throws -> RealCluster.Outcome? {
    var outcome: RealCluster.Outcome?
    try withRunFolder { run in
      let cluster = try RealCluster(run: run, waitingFor: kernels.count)
      for name in kernels { try cluster.addWorker(kernels: name) }
      let code = cluster.wait(atMost: 400)
      #expect(code == 0, "\(kernels): \(cluster.errors)")
      if code == 0 { outcome = cluster.outcome }
    }
    return outcome
  }

  @Test func `can choose its kernels`() { #expect(variants.last == "scalar") }

  @Test(
    .timeLimit(.minutes(10)), .enabled(if: variants.count > 1, "only scalar kernels run here"),
    arguments: variants.dropLast())
  func `gives the digest of the scalar kernels`(kernels: String) throws {
    let reference = try #require(Self.reference)
    #expect(reference.digest.count == 64 && reference.losses.count == 40)
    #expect(try Self.outcome(of: [kernels]) == reference)
  }

  @Test(
    .timeLimit(.minutes(10)), .enabled(if: variants.count > 1, "only scalar kernels run here"))
  func `gives it too when every worker has other kernels`() throws {
    let reference = try #require(Self.reference)
    #expect(try Self.outcome(of: variants) == reference)
  }
}
