public import Tensors
public import Transport

/// What a person says when starting a worker.
public struct WorkerOptions: Sendable {
  public var coordinator: Address
  public var threadCount: Int
  /// Empty: the coordinator picks a name.
  public var name: String
  /// A kernel variant by name; nil takes the best this processor can run.
  public var variant: String?
  /// What computes dense products.
  public var matmul: MatmulChoice
  /// The address other workers are told; nil: the local end of the connection to the coordinator.
  public var advertised: Address?
  public var congestion: String
  /// Whether workers of one machine copy gradients from one another's memory.
  public var isLending: Bool
  /// How long an unreachable coordinator is tried before the worker gives up, seconds.
  public var connectSeconds: Double
  /// Nominal peak of this worker's cores, GFLOP/s, where the processor does not say its name.
  public var peakNominalGigaflops: Double?
  /// Whether each thread keeps to one processor.
  public var isPinned: Bool

  public init(
    coordinator: Address, threadCount: Int, name: String = "", variant: String? = nil,
    matmul: MatmulChoice = .builtin, advertised: Address? = nil,
    congestion: String = Connection.defaultCongestion, isLending: Bool = true,
    connectSeconds: Double = 60, peakNominalGigaflops: Double? = nil,
    isPinned: Bool = false
  ) {
    self.coordinator = coordinator
    self.threadCount = threadCount
    self.name = name
    self.variant = variant
    self.matmul = matmul
    self.advertised = advertised
    self.congestion = congestion
    self.isLending = isLending
    self.connectSeconds = connectSeconds
    self.peakNominalGigaflops = peakNominalGigaflops
    self.isPinned = isPinned
  }
}

/// Why a worker's process ends, and the code it ends with.
public struct WorkerEnd: Error, Equatable, Sendable {
  public let reason: String
  public let code: Int32
  public init(reason: String, code: Int32) {
    self.reason = reason
    self.code = code
  }
}
