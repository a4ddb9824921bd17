import Telemetry
import Testing

@Suite struct `A host's peak` {
  private func worker(
    _ host: String, threads: Int, cores: Set<Int>, quota: Double? = nil, nominal: Double? = nil
  ) -> WorkerPeak {
    WorkerPeak(
      host: host, threadCount: threads, cores: cores, coreCount: quota ?? Double(cores.count),
      measured: 100 * Double(threads), nominal: nominal)
  }

  @Test func `counts once, however many workers share it`() {
    let shared = (0..<3).map { _ in worker("a", threads: 1, cores: [0, 1], nominal: 200) }
    #expect(WorkerPeak.measured(shared) == 200)
    #expect(WorkerPeak.nominal(shared) == 400)
    #expect(WorkerPeak.measured([worker("a", threads: 4, cores: [0, 1])]) == 200)
  }

  @Test func `adds up over disjoint cores and over hosts`() {
    let pinned = [worker("a", threads: 1, cores: [0]), worker("a", threads: 1, cores: [1])]
    #expect(WorkerPeak.measured(pinned) == 200)
    let hosts = [worker("a", threads: 2, cores: [0, 1]), worker("b", threads: 2, cores: [0, 1])]
    #expect(WorkerPeak.measured(hosts) == 400)
  }

  @Test func `is at most what control groups allow`() {
    let limited = [worker("a", threads: 2, cores: [0, 1, 2, 3], quota: 1)]
    #expect(WorkerPeak.measured(limited) == 100)
  }

  @Test func `is unknown without workers, and nominally without a processor's name`() {
    #expect(WorkerPeak.measured([]) == nil)
    #expect(WorkerPeak.nominal([worker("a", threads: 1, cores: [0])]) == nil)
  }

  @Test func `travels as a short list of cores`() {
    #expect(CoreList.text([0, 1, 2, 3, 8]) == "0-3,8")
    #expect(CoreList.numbers("0-3,8") == [0, 1, 2, 3, 8])
    #expect(CoreList.numbers("x,-1,5-2,0-99999999999,7") == [7])
    #expect(CoreList.text([]) == "" && CoreList.numbers("").isEmpty)
  }
}
