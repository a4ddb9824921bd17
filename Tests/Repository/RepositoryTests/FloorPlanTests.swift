import Testing

/// The floor plan of docs/architecture.md: who may import whom.
@Suite struct `The floor plan` {
  let repository = Repository.shared
  let manifest: Manifest

  init() throws { manifest = Manifest(try Repository.shared.text("Package.swift")) }

  /// Rooms from the ground up, and in each the targets from the ground up: imports go down only.
  static let floors: [(room: String, targets: [String])] = [
    ("Base", ["CSystem", "System", "Tensors", "Settings"]),
    ("Insight", ["Planning", "Telemetry"]),
    ("Compute", ["CKernels", "Operators", "Optimization", "Transformer"]),
    ("Cluster", ["Transport", "Collectives", "ControlProtocol", "Scheduling"]),
    ("Learning", ["Tokenization", "Corpus", "Checkpoints", "Interchange", "Evaluation", "Phases"]),
    ("Runtime", ["CoordinatorRuntime", "WorkerRuntime"]),
    ("Programs", ["coordinator", "worker", "cox"]),
  ]

  static let compute: Set<String> = ["CKernels", "Operators", "Optimization", "Transformer"]

  /// Modules that come with the toolchain, and where they may be imported: a room, a target, or
  /// everywhere (empty).
  static let platform: [String: Set<String>] = [
    "Synchronization": [],
    "Glibc": ["System"],
    "CSystem": ["System"],
    "CKernels": ["Operators"],
    "FoundationEssentials": [
      "Insight", "Compute", "Cluster", "Learning", "Runtime", "Programs",
    ],
  ]

  @Test func `is the one that Package.swift declares`() {
    #expect(manifest.sources.map(\.name).sorted() == Self.floors.flatMap(\.targets).sorted())
    for (room, targets) in Self.floors {
      for name in targets { #expect(manifest[name]?.room == room, "\(name)") }
    }
  }

  @Test func `lets dependencies go down only`() {
    let order = Self.floors.flatMap(\.targets)
    for target in manifest.sources {
      for dependency in target.dependencies {
        let above = order.firstIndex(of: target.name) ?? -1
        let below = order.firstIndex(of: dependency) ?? Int.max
        #expect(below < above, "\(target.name) depends on \(dependency), which is not below it")
      }
    }
  }

  @Test func `names no package`() throws {
    let text = try repository.text("Package.swift")
    #expect(!text.contains(".package("))
    #expect(!text.contains("unsafeFlags"))
  }

  @Test func `is obeyed by every import line`() throws {
    for target in manifest.sources where !target.isC {
      for path in try repository.files(under: target.path, "swift") {
        for module in try repository.imports(path) {
          if let places = Self.platform[module] {
            let isAllowed = places.isEmpty || places.contains(target.name)
              || places.contains(target.room)
            #expect(isAllowed, "\(path) may not import \(module)")
            if manifest[module] == nil { continue }
          }
          #expect(
            target.dependencies.contains(module),
            "\(path) imports \(module), which \(target.name) does not declare")
        }
      }
    }
  }

  @Test func `is obeyed by the tests`() throws {
    let platform: Set<String> = ["Testing", "Synchronization", "Glibc", "FoundationEssentials"]
    for target in manifest.targets where target.path.hasPrefix("Tests/") {
      for path in try repository.files(under: target.path, "swift") {
        for module in try repository.imports(path) where !platform.contains(module) {
          #expect(
            target.dependencies.contains(module),
            "\(path) imports \(module), which \(target.name) does not declare")
        }
      }
    }
  }

  @Test func `keeps kernels away from every decision`() {
    let deciders = [
      "Scheduling", "ControlProtocol", "Planning", "Corpus", "Tokenization", "Checkpoints",
      "Interchange", "CoordinatorRuntime", "coordinator",
    ]
    for name in deciders {
      let reached = manifest.closure(of: name).intersection(Self.compute)
      #expect(reached.isEmpty, "\(name) reaches \(reached.sorted())")
    }
  }

  @Test func `has every source file in a declared target`() throws {
    let folders = manifest.sources.map { "\($0.path)/" }
    for path in try repository.files(under: "Sources", "swift", "c", "h", "inc") {
      #expect(folders.contains { path.hasPrefix($0) }, "\(path) belongs to no target")
    }
  }
}
