internal import ControlProtocol
internal import Operators
internal import Planning
internal import Settings
internal import System
internal import Tokenization
internal import Telemetry
internal import Transport

/// Runs a worker until its coordinator lets it go; returns the exit code.
public func runWorker(_ options: WorkerOptions) -> Int32 {
  let log = WorkerLog()
  do {
    let host = WorkerHost(options, log: log)
    try host.run()
    return 0
  } catch {
    log.write(error.reason)
    if let byteCount = Host.peakResidentByteCount {
      log.write("peak memory \(Figures.bytes(byteCount)) (\(byteCount) bytes)")
    }
    return error.code
  }
}

/// The parts of a worker's process that outlive views: connections, kernels, the data port.
private final class WorkerHost {
  private let options: WorkerOptions
  private let log: WorkerLog

  init(_ options: WorkerOptions, log: WorkerLog) {
    self.options = options
    self.log = log
  }

  func run() throws(WorkerEnd) {
    let tokens = TokenStore()
    let chunks = ChunkStore()
    let interruption = try makeInterruption()
    let link = CoordinatorLink(
      options, log: log, tokens: tokens, chunks: chunks,
      interrupt: {
        interruption.raise()
        tokens.interrupt()
        chunks.interrupt()
      })
    stopOnSignals(link)
    let team = ThreadTeam(memberCount: options.threadCount, pinned: options.isPinned)
    var choices: [Choice] = []
    for variant in try offeredVariants() { choices.append(try choice(of: variant, team)) }
    let offers = choices.map(\.offer)
    let listener = try openListener()
    let name = options.name
    let threadCount = options.threadCount
    let advertised = options.advertised
    let opened = listener.address
    link.start { localHost in
      WorkerHello(
        name: name, host: Processor.bootIdentifier() ?? "unknown", threadCount: threadCount,
        coreCount: Processor.usableCoreCount(), offers: offers,
        dataAddress: (advertised ?? (opened.isLoopback
          ? opened : Address(host: localHost, port: opened.port))).description)
    }
    defer { link.leave() }
    let first = try firstMessage(link)
    if case .leave(let reason, let code) = first { throw WorkerEnd(reason: reason, code: code) }
    guard
      case .welcome(
        let run, let worker, let given, let profile, let planText, let tokenizerText) = first,
      let choice = choices.first(where: { $0.offer.profile == profile })
    else { throw WorkerEnd(reason: "the coordinator did not say welcome", code: 1) }
    let plan: ResolvedPlan
    let tokenizer: Tokenizer?
    do {
      plan = try ResolvedPlan(planJSON: planText)
    } catch {
      throw WorkerEnd(reason: "the coordinator's plan cannot be read: \(error.message)", code: 78)
    }
    do {
      tokenizer = tokenizerText.isEmpty ? nil : try Tokenizer.load(json: Array(tokenizerText.utf8))
    } catch {
      throw WorkerEnd(reason: "the coordinator's tokenizer cannot be read: \(error)", code: 78)
    }
    let engine = Engine(
      team: team, variant: choice.variant, precision: plan.precision,
      matmul: choice.matmul.backend)
    log.write("matmul: \(choice.matmul.reason)")
    let session = WorkerSession(
      welcome: CoordinatorLink.Welcome(
        run: run, worker: worker, name: given, profile: profile, plan: planText,
        tokenizer: tokenizerText),
      plan: plan, tokenizer: tokenizer, engine: engine, link: link, log: log, tokens: tokens,
      interruption: interruption, listener: listener, congestion: options.congestion,
      isLending: options.isLending)
    try session.serve()
  }

  /// Of the cores this worker's threads occupy; nil for a processor that hides its name.
  private func nominalPeak(_ variant: KernelVariant, threadCount: Int) -> Double? {
    NominalPeak.gigaflops(
      processorName: Processor.name(),
      instruction: variant.name == "avx512bf16" ? .bf16DotProduct : .fma,
      coreCount: min(Double(threadCount), Processor.usableCoreCount()))
  }

  /// The log says which and why; a BLAS that is not there ends the worker.
  private func chosenBackend(
    _ variant: KernelVariant
  ) throws(WorkerEnd) -> MatmulBackend.Decision {
    do throws(BlasError) {
      return try MatmulBackend.decide(options.matmul, variant: variant)
    } catch {
      throw WorkerEnd(reason: "--matmul \(options.matmul): \(error)", code: 78)
    }
  }

  private func firstMessage(_ link: CoordinatorLink) throws(WorkerEnd) -> CoordinatorMessage? {
    try link.next(atMost: nil)
  }

  private func makeInterruption() throws(WorkerEnd) -> Interruption {
    do {
      return try Interruption()
    } catch {
      throw WorkerEnd(reason: "\(error)", code: 1)
    }
  }

  /// What this worker would compute with, and how it offers that to the coordinator.
  private struct Choice {
    let variant: KernelVariant
    let matmul: MatmulBackend.Decision
    let offer: KernelOffer
  }

  private func choice(
    of variant: KernelVariant, _ team: ThreadTeam
  ) throws(WorkerEnd) -> Choice {
    let matmul = try chosenBackend(variant)
    let engine = Engine(team: team, variant: variant, matmul: matmul.backend)
    let kernels = matmul.backend.isBuiltin ? variant.name : "\(variant.name) and \(engine.profile)"
    let processor = Processor.name() ?? "unknown processor"
    return Choice(
      variant: variant, matmul: matmul,
      offer: KernelOffer(
        profile: engine.profile, selfTest: engine.selfTestDigest(),
        kernels: "\(kernels) on \(processor.prefix(64))",
        peakNominalGigaflops: options.peakNominalGigaflops
          ?? nominalPeak(engine.peakVariant, threadCount: options.threadCount)))
  }

  /// The one asked for, else the fastest of each profile.
  private func offeredVariants() throws(WorkerEnd) -> [KernelVariant] {
    guard let name = options.variant else { return KernelVariant.bestOfEachProfile }
    if let variant = KernelVariant(named: name) { return [variant] }
    let names = KernelVariant.available.map(\.name).joined(separator: ", ")
    throw WorkerEnd(
      reason: "this processor cannot run kernels '\(name)'; it has \(names)", code: 64)
  }

  /// A port for other workers: on the advertised port if one is named, else on a free one. One
  /// that only this machine is told of stays on loopback; any other takes both families.
  private func openListener() throws(WorkerEnd) -> Listener {
    let told = options.advertised ?? options.coordinator
    let port = options.advertised?.port ?? 0
    var failure = TransportError.unresolved(host: told.host, reason: "no address")
    for host in told.isLoopback ? [told.host] : ["::", "0.0.0.0"] {
      do {
        return try Listener(Address(host: host, port: port), congestion: options.congestion)
      } catch {
        failure = error
      }
    }
    throw WorkerEnd(reason: "no port for other workers: \(failure)", code: 1)
  }

  /// Ctrl-C once: leave in order. Twice, or while it holds nothing: now.
  private func stopOnSignals(_ link: CoordinatorLink) {
    let count = Monitor(0)
    onSignals([.interrupt, .terminate]) { [log] _ in
      let times = count.update { count in
        count += 1
        return count
      }
      if times > 1 || !link.isWelcomed { leaveProcess(code: 130) }
      log.write("leaving at the next safe point (again to leave at once)")
      link.send(.leaving)
    }
  }
}
