// swift-tools-version: 6.2
import PackageDescription

// Every target is compiled the same way: strict about memory, warnings are errors, and every
// cross-module type that a public interface shows is imported publicly on purpose.
let strict: [SwiftSetting] = [
  .strictMemorySafety(), .treatAllWarnings(as: .error),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("ExistentialAny"),
]

func room(_ name: String, in folder: String, _ uses: [Target.Dependency] = []) -> Target {
  .target(
    name: name, dependencies: uses, path: "Sources/\(folder)/\(name)", swiftSettings: strict)
}

func cRoom(_ name: String, in folder: String) -> Target {
  .target(
    name: name, path: "Sources/\(folder)/\(name)", cSettings: [.treatAllWarnings(as: .error)])
}

func program(_ name: String, _ uses: [Target.Dependency]) -> Target {
  .executableTarget(
    name: name, dependencies: uses, path: "Sources/Programs/\(name)", swiftSettings: strict)
}

/// What several test targets share.
func support(_ name: String, in folder: String, _ uses: [Target.Dependency]) -> Target {
  .target(name: name, dependencies: uses, path: "Tests/\(folder)/\(name)", swiftSettings: strict)
}

func tests(
  _ name: String, in folder: String, _ uses: [Target.Dependency], without excluded: [String] = []
) -> Target {
  .testTarget(
    name: name, dependencies: uses, path: "Tests/\(folder)/\(name)", exclude: excluded,
    swiftSettings: strict)
}

let package = Package(
  name: "coxswain",
  products: [
    .executable(name: "coordinator", targets: ["coordinator"]),
    .executable(name: "worker", targets: ["worker"]),
    .executable(name: "cox", targets: ["cox"]),
  ],
  targets: [
    // Base: memory, the operating system, and what the user asked for.
    cRoom("CSystem", in: "Base"),
    room("System", in: "Base", ["CSystem"]),
    room("Tensors", in: "Base", ["System"]),
    room("Settings", in: "Base", ["Tensors", "System"]),

    // Insight: arithmetic before hardware, and records after it.
    room("Planning", in: "Insight", ["Settings", "Tensors"]),
    room("Telemetry", in: "Insight", ["Planning", "Settings", "Tensors", "System"]),

    // Compute: kernels, the operators over them, the model and its update.
    cRoom("CKernels", in: "Compute"),
    room("Operators", in: "Compute", ["CKernels", "Tensors", "System"]),
    room("Optimization", in: "Compute", ["Operators", "Settings", "Tensors", "System"]),
    room(
      "Transformer", in: "Compute",
      ["Operators", "Settings", "Tensors", "System"]),

    // Cluster: bytes between machines, sums across ranks, decisions.
    room("Transport", in: "Cluster", ["Tensors", "System"]),
    room("Collectives", in: "Cluster", ["Transport", "Planning", "Tensors", "System"]),
    room(
      "ControlProtocol", in: "Cluster",
      ["Transport", "Planning", "Settings", "Tensors", "System"]),
    room("Scheduling", in: "Cluster", ["ControlProtocol", "Planning", "Settings", "Tensors"]),

    // Learning: text, tokens, saved state, and the phases that use them.
    room("Tokenization", in: "Learning", ["System"]),
    room("Corpus", in: "Learning", ["Tokenization", "Settings", "Tensors", "System"]),
    room("Checkpoints", in: "Learning", ["Settings", "Tensors", "System"]),
    room(
      "Interchange", in: "Learning",
      ["Checkpoints", "Tokenization", "Settings", "Tensors", "System"]),
    room(
      "Evaluation", in: "Learning",
      ["Transformer", "Operators", "Checkpoints", "Corpus", "Tokenization", "Planning", "Settings",
        "Tensors", "System"]),
    room(
      "Phases", in: "Learning",
      ["Evaluation", "Corpus", "Tokenization", "Transformer", "Optimization", "Operators",
        "Planning", "Settings", "Tensors", "System"]),

    // Runtime: event loops, where sockets, threads and clocks meet decisions.
    room(
      "CoordinatorRuntime", in: "Runtime",
      ["Scheduling", "ControlProtocol", "Transport", "Interchange", "Checkpoints", "Corpus",
        "Tokenization", "Telemetry", "Planning", "Settings", "Tensors", "System"]),
    room(
      "WorkerRuntime", in: "Runtime",
      ["Phases", "Corpus", "Tokenization", "Transformer", "Optimization", "Operators",
        "Collectives", "ControlProtocol", "Transport", "Telemetry", "Planning", "Settings",
        "Tensors", "System"]),

    // Programs: parse arguments, call one function, exit.
    program("coordinator", ["CoordinatorRuntime", "Transport", "Settings", "System"]),
    program("worker", ["WorkerRuntime", "Transport", "Settings", "System"]),
    program(
      "cox",
      ["CoordinatorRuntime", "WorkerRuntime", "Phases", "Evaluation", "Interchange", "Corpus",
        "Tokenization", "Checkpoints", "Collectives", "Transport", "ControlProtocol",
        "Transformer", "Optimization", "Operators", "Telemetry", "Planning", "Settings", "Tensors",
        "System"]),

    // Tests mirror the rooms.
    tests("SystemTests", in: "Base", ["System", "CSystem"]),
    tests("TensorsTests", in: "Base", ["Tensors"]),
    tests("SettingsTests", in: "Base", ["Settings", "Tensors", "System"]),
    tests("PlanningTests", in: "Insight", ["Planning", "Settings", "Tensors"]),
    tests(
      "TelemetryTests", in: "Insight",
      ["Telemetry", "Planning", "Settings", "Tensors", "System"]),
    support("KernelSupport", in: "Compute", ["Operators", "Tensors", "System"]),
    tests("MatmulTests", in: "Compute", ["KernelSupport", "Operators", "Tensors", "System"]),
    tests("OperatorsTests", in: "Compute", ["KernelSupport", "Operators", "Tensors", "System"]),
    tests(
      "OptimizationTests", in: "Compute",
      ["Optimization", "Operators", "Settings", "Tensors", "System"]),
    tests(
      "TransformerTests", in: "Compute",
      ["Transformer", "Operators", "Settings", "Tensors", "System"]),
    tests("TransportTests", in: "Cluster", ["Transport", "Tensors", "System"]),
    tests(
      "CollectivesTests", in: "Cluster",
      ["Collectives", "Transport", "Planning", "Tensors", "System"]),
    tests(
      "SchedulingTests", in: "Cluster",
      ["Scheduling", "ControlProtocol", "Planning", "Settings", "Tensors", "System"]),
    tests("TokenizationTests", in: "Learning", ["Tokenization", "System"]),
    tests(
      "CorpusTests", in: "Learning",
      ["Corpus", "Tokenization", "Settings", "Tensors", "System"]),
    tests("CheckpointsTests", in: "Learning", ["Checkpoints", "Settings", "Tensors", "System"]),
    tests(
      "InterchangeTests", in: "Learning",
      ["Interchange", "Checkpoints", "Tokenization", "Settings", "Tensors", "System"]),
    tests(
      "PhasesTests", in: "Learning",
      ["Phases", "Transformer", "Optimization", "Operators", "Planning", "Settings", "Tensors",
        "System"]),
    tests(
      "EvaluationTests", in: "Learning",
      ["Evaluation", "Transformer", "Operators", "Checkpoints", "Corpus", "Tokenization",
        "Settings", "Tensors", "System"]),
    tests(
      "CoordinatorRuntimeTests", in: "Runtime",
      ["CoordinatorRuntime", "ControlProtocol", "Checkpoints", "Corpus", "Telemetry", "Planning",
        "Settings", "Transport", "Tensors", "System"]),
    support(
      "ForeignBytes", in: "Fuzz",
      ["CoordinatorRuntime", "Scheduling", "ControlProtocol", "Collectives", "Transport",
        "Checkpoints", "Corpus", "Tokenization", "Telemetry", "Planning", "Settings", "Tensors",
        "System"]),
    tests(
      "ForeignBytesTests", in: "Fuzz",
      ["ForeignBytes", "CoordinatorRuntime", "Scheduling", "ControlProtocol", "Corpus",
        "Tokenization", "Checkpoints", "Telemetry", "Planning", "Settings", "Tensors", "System"]),
    tests(
      "ProgramTests", in: "Programs",
      ["Checkpoints", "ControlProtocol", "Transport", "Telemetry", "Settings", "Tensors", "System"],
      without: ["Help"]),
    tests("RepositoryTests", in: "Repository", []),
  ],
  cLanguageStandard: .c17
)

// The fuzzer brings its own main function, so an ordinary build must not see this target.
// `launch/soak fuzz` builds it.
if Context.environment["COXSWAIN_FUZZ"] != nil {
  package.targets.append(
    .executableTarget(
      name: "Fuzz", dependencies: ["ForeignBytes", "System"], path: "Tests/Fuzz/Fuzz",
      swiftSettings: strict))
}
