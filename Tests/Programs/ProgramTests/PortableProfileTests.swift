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
  /// What is run: the scalar kernels take seconds a step, so where they take part it is 3 steps.
  /// (`launch/soak kernels` runs all 40.)
  static func outcome(of kernels: [String], stepCount: Int) throws -> RealCluster.Outcome? {
    var outcome: RealCluster.Outcome?
    try withRunFolder { run in
      let settings = ["steps=\(stepCount)", "schedule.warmup=\(min(stepCount, 5))"]
      let cluster = try RealCluster(
        run: run, waitingFor: kernels.count,
        extra: settings.flatMap { ["--set", "phases.pretrain.\($0)"] })
      for name in kernels { try cluster.addWorker(options: ["--kernels", name]) }
      let code = cluster.wait(atMost: 250)
      #expect(code == 0, "\(kernels): \(cluster.errors)")
      if code == 0 { outcome = cluster.outcome }
    }
    return outcome
  }

  /// Runs of the same steps that end otherwise than the first.
  static func differing(_ runs: [[String]], stepCount: Int) throws -> [[String]] {
    let reference = try #require(try outcome(of: runs[0], stepCount: stepCount))
    #expect(reference.digest.count == 64 && reference.losses.count == stepCount)
    return try runs.dropFirst().filter { try outcome(of: $0, stepCount: stepCount) != reference }
  }

  @Test func `can choose its kernels`() { #expect(variants.last == "scalar") }

  @Test(
    .timeLimit(.minutes(10)), .enabled(if: variants.count > 1, "only scalar kernels run here"))
  func `ends alike with scalar kernels, others, and one of each`() throws {
    let runs = [["scalar"]] + variants.dropLast().map { [$0] } + [variants]
    #expect(try Self.differing(runs, stepCount: 3) == [])
  }

  @Test(
    .timeLimit(.minutes(10)), .enabled(if: variants.count > 2, "one fast variant runs here"))
  func `ends alike after 40 steps of any fast kernels`() throws {
    let fast = Array(variants.dropLast())
    #expect(try Self.differing(fast.map { [$0] } + [fast], stepCount: 40) == [])
  }
}
