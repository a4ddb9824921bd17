internal import CSystem
internal import Glibc
internal import Synchronization

/// Work that every member of a team does at the same time, each its own part.
///
/// A job is a value, so that handing it to the team allocates nothing.
public protocol TeamJob {
  /// Does part `member` of `memberCount`. Runs once on every member.
  func run(member: Int, memberCount: Int)
}

extension TeamJob {
  fileprivate static func call(_ raw: UnsafeRawPointer, _ member: Int, _ memberCount: Int) {
    // SAFETY: `ThreadTeam.run` stores a pointer to a `Self` that it keeps alive until all return.
    unsafe raw.assumingMemoryBound(to: Self.self).pointee.run(
      member: member, memberCount: memberCount)
  }
}

/// A fixed set of pinned threads for arithmetic. The caller of ``run(_:)`` is member 0.
///
/// The partition is static: member `i` of `n` always gets the same part, no work is stolen, so a
/// sum keeps one order. Members spin and then yield for about a millisecond before they sleep,
/// because waking a sleeper costs 50 us and more (docs/performance.md).
@safe
public final class ThreadTeam: @unchecked Sendable {
  // SAFETY (@unchecked Sendable): `entry` and `argument` are written only between two dispatches
  // by the one caller of `run`, and published by the release store on `generation`.
  public let memberCount: Int

  /// Counts dispatches and starts again after 2^32 of them: members look for a change only.
  private let generation: Atomic<UInt32>
  private let pending = Atomic<Int>(0)
  private let sleepers = Atomic<Int>(0)
  private let isStopping = Atomic<Bool>(false)
  private var entry: (any TeamJob.Type)?
  private var argument: UnsafeRawPointer?
  private var threads: [pthread_t] = []

  /// How often a member looks for work before it sleeps: about 1 ms.
  private static let spinCount = 2_000
  /// Looks before a member offers its processor to others, which matters where threads outnumber
  /// processors: there a member that only spins keeps the one it waits for from running.
  private static let pauseCount = 1_000

  /// Passes a moment between two looks.
  private static func spin(_ count: inout Int) {
    count += 1
    if count < pauseCount {
      cs_pause()
    } else {
      sched_yield()
    }
  }

  /// Starts `memberCount - 1` threads.
  ///
  /// - Parameter pinned: Keeps member `i` on the `i`-th processor this process may use, where
  ///   there are enough of them.
  public convenience init(memberCount: Int, pinned: Bool = false) {
    self.init(memberCount: memberCount, pinned: pinned, generation: 0)
  }

  /// - Parameter generation: As if so many dispatches had been.
  package init(memberCount: Int, pinned: Bool = false, generation: UInt32) {
    precondition(memberCount >= 1, "a team needs a member, got \(memberCount)")
    self.memberCount = memberCount
    self.generation = Atomic(generation)
    let processors = pinned ? allowedProcessors() : []
    let isPinned = pinned && processors.count >= memberCount
    if isPinned { _ = cs_pin_to_processor(Int32(processors[0])) }
    for member in 1..<max(memberCount, 1) {
      let processor = isPinned ? processors[member] : nil
      let thread = startThread { [self] in
        if let processor { _ = cs_pin_to_processor(Int32(processor)) }
        serve(member, after: generation)
      }
      threads.append(thread)
    }
  }

  /// Ends the threads. Called once, by the owner, when no dispatch is running.
  public func stop() {
    isStopping.store(true, ordering: .relaxed)
    announce()
    for thread in threads { _ = pthread_join(thread, nil) }
    threads = []
  }

  /// Runs `job` on every member and returns when all are done. Not reentrant.
  public func run<Job: TeamJob>(_ job: borrowing Job) {
    // The caller may be any thread: what it does between two dispatches keeps its own mode.
    let control = cs_flush_subnormals()
    defer { cs_restore_float_control(control) }
    guard memberCount > 1 else { return job.run(member: 0, memberCount: 1) }
    unsafe withUnsafePointer(to: job) { pointer in
      unsafe argument = UnsafeRawPointer(pointer)
      entry = Job.self
      pending.store(memberCount - 1, ordering: .relaxed)
      announce()
      unsafe pointer.pointee.run(member: 0, memberCount: memberCount)
      var spins = 0
      while pending.load(ordering: .acquiring) != 0 { Self.spin(&spins) }
      entry = nil
    }
  }

  private func announce() {
    generation.wrappingAdd(1, ordering: .sequentiallyConsistent)
    if sleepers.load(ordering: .sequentiallyConsistent) > 0 {
      unsafe cs_futex_wake_all(address(of: generation))
    }
  }

  private func serve(_ member: Int, after generation: UInt32) {
    _ = cs_flush_subnormals()
    var seen = generation
    while true {
      seen = awaitGeneration(after: seen)
      if isStopping.load(ordering: .relaxed) { return }
      guard let entry, let argument = unsafe argument else { continue }
      unsafe entry.call(argument, member, memberCount)
      pending.subtract(1, ordering: .releasing)
    }
  }

  private func awaitGeneration(after seen: UInt32) -> UInt32 {
    var spins = 0
    while spins < Self.spinCount {
      let now = generation.load(ordering: .acquiring)
      if now != seen { return now }
      Self.spin(&spins)
    }
    sleepers.add(1, ordering: .sequentiallyConsistent)
    defer { sleepers.subtract(1, ordering: .sequentiallyConsistent) }
    while true {
      let now = generation.load(ordering: .acquiring)
      if now != seen { return now }
      unsafe cs_futex_wait(address(of: generation), seen, -1)
    }
  }

  private func address(of word: borrowing Atomic<UInt32>) -> UnsafeRawPointer {
    // SAFETY: an atomic stored in a class has one address as long as the object lives.
    unsafe withUnsafePointer(to: word) { unsafe UnsafeRawPointer($0) }
  }
}

/// The processors this process may use (affinity mask), ascending.
public func allowedProcessors() -> [Int] {
  var found = [Int32](repeating: 0, count: 1024)
  let count = unsafe cs_allowed_processors(&found, Int32(found.count))
  return found.prefix(Int(count)).map(Int.init)
}

/// Sets the calling thread to treat subnormal numbers as zero, as every compute thread must.
public func flushSubnormals() { _ = cs_flush_subnormals() }
