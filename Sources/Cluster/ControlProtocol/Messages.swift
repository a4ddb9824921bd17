public import Planning

/// The version both sides must speak; any difference is refused, naming both.
public let protocolVersion = 5

/// The greeting on a connection: what the caller is, before anything else is believed.
public enum Greeting: Codable, Equatable, Sendable {
  /// First frame of a control connection.
  case control(WorkerHello)
  /// First frame of the second connection of a worker: binary frames both ways.
  case bulk(version: Int, run: UInt64, worker: Int)

  /// The longest greeting that a coordinator reads, 1 KiB: nobody is known before it.
  public static let byteCountMax = 1 << 10
}

/// What the greeting of every version says in the same place, for a refusal that names both.
public struct GreetingVersion: Decodable, Equatable, Sendable {
  public let version: Int

  private enum Word: String, CodingKey { case control, first = "_0", version }

  public init(from decoder: any Decoder) throws {
    let greeting = try decoder.container(keyedBy: Word.self)
    let control = try greeting.nestedContainer(keyedBy: Word.self, forKey: .control)
    let hello = try control.nestedContainer(keyedBy: Word.self, forKey: .first)
    version = try hello.decode(Int.self, forKey: .version)
  }
}

/// Why a worker of another version cannot take part.
public func otherVersion(_ version: Int) -> String {
  "the worker speaks protocol version \(version), the coordinator \(protocolVersion); "
    + "run the same release on both"
}

/// What a worker says of itself when it connects, or connects again.
public struct WorkerHello: Codable, Equatable, Sendable {
  public var version: Int
  /// What the person who started it called it; empty: the coordinator picks a name.
  public var name: String
  /// Identifies the machine (boot id), so that workers of one host count its peak once.
  public var host: String
  public var threadCount: Int
  /// How many physical cores its control group lets it use at once.
  public var coreCount: Double
  /// What it can compute with, fastest first.
  public var offers: [KernelOffer]
  /// Where other workers reach it, `HOST:PORT`.
  public var dataAddress: String
  /// Set when it comes back to a run it belongs to: the number it was given.
  public var returning: ReturningWorker?

  public init(
    version: Int = protocolVersion, name: String, host: String, threadCount: Int,
    coreCount: Double, offers: [KernelOffer], dataAddress: String,
    returning: ReturningWorker? = nil
  ) {
    self.version = version
    self.name = name
    self.host = host
    self.threadCount = threadCount
    self.coreCount = coreCount
    self.offers = offers
    self.dataAddress = dataAddress
    self.returning = returning
  }
}

/// Kernels that a worker can compute with. A run takes one numeric profile from all its workers.
public struct KernelOffer: Codable, Equatable, Sendable {
  /// The numeric profile they follow.
  public var profile: String
  /// SHA-256 of a fixed run of them, hexadecimal.
  public var selfTest: String
  /// Variant and processor, for people.
  public var kernels: String
  /// Nominal peak of the cores that the worker's threads fill, GFLOP/s; nil where it is unknown.
  public var peakNominalGigaflops: Double?

  public init(profile: String, selfTest: String, kernels: String, peakNominalGigaflops: Double?) {
    self.profile = profile
    self.selfTest = selfTest
    self.kernels = kernels
    self.peakNominalGigaflops = peakNominalGigaflops
  }
}

/// A worker that lost its coordinator and found it (or its successor) again.
public struct ReturningWorker: Codable, Equatable, Sendable {
  public var run: UInt64
  public var worker: Int
  public init(run: UInt64, worker: Int) {
    self.run = run
    self.worker = worker
  }
}

/// One member of a view.
public struct Member: Codable, Equatable, Sendable {
  /// The number the coordinator gave it when it joined; never used twice in a run.
  public var worker: Int
  public var name: String
  /// Where other members reach it, `HOST:PORT`.
  public var dataAddress: String
  public init(worker: Int, name: String, dataAddress: String) {
    self.worker = worker
    self.name = name
    self.dataAddress = dataAddress
  }
}

/// Where a member takes weights and moments from before it goes on.
public enum StateSource: Codable, Equatable, Sendable {
  /// It holds the state of this position already.
  case own
  /// Every weight follows from the plan's seed.
  case seed
  /// From the member with this rank.
  case member(rank: Int)
  /// From the checkpoint on the coordinator's machine.
  case checkpoint
}

/// A view in force: who takes part, where everybody stands, and who computes what.
public struct Resumption: Codable, Equatable, Sendable {
  public var view: Int
  /// By rank.
  public var members: [Member]
  /// The operation that comes next; everybody holds (or first fetches) the state before it.
  public var position: Int
  /// Slices of that operation that each rank contributes: what it holds already, and what it is
  /// dealt. Later operations follow `SliceTree.deal`.
  public var slices: [[Int]]
  /// By rank.
  public var sources: [StateSource]
  /// Operations before this position may run.
  public var grantedPosition: Int
  /// Operations before ``position`` that gates left out: the position behind each gap, and the one
  /// before it.
  public var gaps: [Int: Int] = [:]
  public init(
    view: Int, members: [Member], position: Int, slices: [[Int]], sources: [StateSource],
    grantedPosition: Int
  ) {
    self.view = view
    self.members = members
    self.position = position
    self.slices = slices
    self.sources = sources
    self.grantedPosition = grantedPosition
  }
}

/// From coordinator to worker.
public enum CoordinatorMessage: Codable, Equatable, Sendable {
  /// The worker is part of the run, with the kernels it offered for `profile`. `plan` is the
  /// resolved plan, `tokenizer` the tokenizer, as JSON text.
  case welcome(
    run: UInt64, worker: Int, name: String, profile: String, plan: String, tokenizer: String)
  /// The worker cannot take part; `code` is the exit code it leaves with.
  case refused(reason: String, code: Int32)
  /// Stop at the next safe point, say where you stand, wait for `resume`.
  case suspend(view: Int)
  /// Run the peak probe now, together with the other workers.
  case measurePeak
  case resume(Resumption)
  /// Operations before `position` may run.
  case grant(view: Int, position: Int)
  /// At `position`: send these 4 MiB chunks of the state over the bulk connection.
  case save(position: Int, chunks: Range<Int>)
  /// The run is over (or leaves you out): exit with `code`.
  case leave(reason: String, code: Int32)
  /// Sent every second, before the welcome too: the coordinator is there, and may be busy.
  case alive
}

/// From worker to coordinator.
public enum WorkerMessage: Codable, Equatable, Sendable {
  /// Answer to `suspend`: where it stands. `position` is nil when it holds no state; `nodes` are
  /// the gradient sums of the operation at `position` that it has complete.
  case suspended(view: Int, position: Int?, nodes: [SliceNode])
  /// `cores` are the physical cores it may use, as `CoreList` writes them: `0-3,8`.
  case measuredPeak(gigaflops: Double, cores: String)
  /// The operation at `report.position` is done and its effect applied.
  case completed(OperationReport)
  /// A member of the view cannot be reached. One message for each.
  case peerLost(view: Int, rank: Int, cause: String)
  /// Sent every half second; the count rises while the worker makes progress or waits for others.
  case alive(progress: Int)
  /// It does not hold the state that a `save` asked for.
  case saveRefused(position: Int)
  /// It asks to leave at the next safe point (Ctrl-C on the worker).
  case leaving
}

/// What one worker says of one finished operation.
public struct OperationReport: Codable, Equatable, Sendable {
  public var view: Int
  public var position: Int
  /// The operation that comes next: the one behind, or the end of a phase that a gate closed.
  public var nextPosition: Int
  /// Valid targets of all workers together.
  public var tokenCount: Int64
  /// Sum of token losses, nats, exact for all workers together.
  public var lossSum: Double
  /// Norm of the whole gradient before clipping; 0 for a validation.
  public var gradientNorm: Double
  public var learningRate: Double
  public var isSkipped: Bool
  /// Other sums of the phase, exact for all workers together.
  public var measures: SIMD16<Double>
  /// Slices this worker computed for it in this view.
  public var sliceCount: Int
  /// Slices it computed although somebody had computed them before in an older view.
  public var recomputedCount: Int
  public var time: OperationTime
  /// Bytes it sent to other workers.
  public var byteCount: Int
  public init(
    view: Int, position: Int, nextPosition: Int? = nil, tokenCount: Int64, lossSum: Double,
    gradientNorm: Double, learningRate: Double, isSkipped: Bool,
    measures: SIMD16<Double> = .zero, sliceCount: Int, recomputedCount: Int,
    time: OperationTime, byteCount: Int
  ) {
    self.view = view
    self.position = position
    self.nextPosition = nextPosition ?? position &+ 1
    self.tokenCount = tokenCount
    self.lossSum = lossSum
    self.gradientNorm = gradientNorm
    self.learningRate = learningRate
    self.isSkipped = isSkipped
    self.measures = measures
    self.sliceCount = sliceCount
    self.recomputedCount = recomputedCount
    self.time = time
    self.byteCount = byteCount
  }

  public var loss: Double { tokenCount == 0 ? 0 : lossSum / Double(tokenCount) }
}

/// Where the time of an operation went on one worker, seconds. The parts sum to `total`.
public struct OperationTime: Codable, Equatable, Sendable {
  public var total = 0.0
  public var data = 0.0
  public var forward = 0.0
  public var backward = 0.0
  public var exchange = 0.0
  public var wait = 0.0
  public var optimizer = 0.0
  public var checkpoint = 0.0
  /// Exchange time that passed while the cores computed; not part of `total`.
  public var hiddenExchange = 0.0
  public init() {}
  /// What has a cause.
  public var known: Double {
    data + forward + backward + exchange + wait + optimizer + checkpoint
  }
  public var other: Double { max(0, total - known) }
}
