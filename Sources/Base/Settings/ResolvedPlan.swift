public import Tensors

/// Everything a run depends on, with nothing left out and nothing left to derive.
///
/// The plan file is resolved into this value once; the coordinator saves it as
/// `plan.resolved.json`, sends it to every worker, and no module reads the plan file again.
/// Keys are snake_case in JSON.
public struct ResolvedPlan: Codable, Equatable, Sendable {
  public var name: String
  /// Every random draw of the run derives from it.
  public var seed: UInt64
  /// What operands of products are rounded to.
  public var precision: Precision
  /// Probability that dropout zeroes an element of the embedding or of a residual branch.
  public var dropout: Double
  public var model: ModelShape
  public var initialization: Initialization
  public var batch: Batch
  public var optimizer: Optimizer
  public var tokenizer: TokenizerChoice
  /// Run in order.
  public var phases: [Phase]
  public var checkpoints: Checkpoints

  public init(
    name: String, seed: UInt64, precision: Precision, dropout: Double, model: ModelShape,
    initialization: Initialization, batch: Batch, optimizer: Optimizer,
    tokenizer: TokenizerChoice, phases: [Phase], checkpoints: Checkpoints
  ) {
    self.name = name
    self.seed = seed
    self.precision = precision
    self.dropout = dropout
    self.model = model
    self.initialization = initialization
    self.batch = batch
    self.optimizer = optimizer
    self.tokenizer = tokenizer
    self.phases = phases
    self.checkpoints = checkpoints
  }

  /// How weights start: as another model left them, or matrices normal with mean 0 and gains 1.
  public struct Initialization: Codable, Equatable, Sendable {
    public var standardDeviation: Double
    /// Whether the two matrices that write to the residual stream start smaller by
    /// `1 / sqrt(2 layers)`, as in GPT-2.
    public var scalesResidual: Bool
    /// A run, a checkpoint or a Hugging Face folder, whose weights and tokenizer the run starts
    /// with; nil: weights are drawn. Read by the coordinator alone.
    public var from: String?
    /// A run or a checkpoint that holds a reward model; nil: reward phases make the only ones.
    public var rewardModel: String?
    public init(
      standardDeviation: Double = 0.02, scalesResidual: Bool = true, from: String? = nil,
      rewardModel: String? = nil
    ) {
      self.standardDeviation = standardDeviation
      self.scalesResidual = scalesResidual
      self.from = from
      self.rewardModel = rewardModel
    }
  }

  /// How much text one step reads and how it is cut.
  public struct Batch: Codable, Equatable, Sendable {
    /// Sequences per step, all workers together.
    public var sequences: Int
    /// A power of two that divides ``sequences``.
    public var slices: Int
    /// Sequences computed at once; divides the sequences of a slice.
    public var microbatch: Int
    public init(sequences: Int, slices: Int, microbatch: Int) {
      self.sequences = sequences
      self.slices = slices
      self.microbatch = microbatch
    }
    public var sequencesPerSlice: Int { sequences / slices }
    public var microbatchesPerSlice: Int { sequencesPerSlice / microbatch }
  }

  /// AdamW; decay on matrices only.
  public struct Optimizer: Codable, Equatable, Sendable {
    public var beta1: Double
    public var beta2: Double
    public var epsilon: Double
    public var weightDecay: Double
    /// Limit of the global gradient norm.
    public var gradientClip: Double
    public init(
      beta1: Double = 0.9, beta2: Double = 0.95, epsilon: Double = 1e-8,
      weightDecay: Double = 0.1, gradientClip: Double = 1.0
    ) {
      self.beta1 = beta1
      self.beta2 = beta2
      self.epsilon = epsilon
      self.weightDecay = weightDecay
      self.gradientClip = gradientClip
    }
  }

  public struct TokenizerChoice: Codable, Equatable, Sendable {
    public enum Kind: String, Codable, CaseIterable, Sendable { case bpe, bytes, characters }
    public var kind: Kind
    /// Ids in all, special tokens included. For `bytes` and `characters` it follows from the kind
    /// and the text.
    public var vocabularySize: Int
    public var splitter: String
    /// The splitters of Tokenization, which this room cannot see; a test compares them.
    public static let splitters = ["cl100k", "llama3", "gpt2", "o200k"]

    public init(kind: Kind, vocabularySize: Int, splitter: String = "cl100k") {
      self.kind = kind
      self.vocabularySize = vocabularySize
      self.splitter = splitter
    }
  }

  /// Where a phase's text comes from and how windows are cut from it.
  public struct DataChoice: Codable, Equatable, Sendable {
    public enum Source: Codable, Equatable, Sendable {
      /// The generated world: this many documents from this seed.
      case world(seed: UInt64, documents: Int)
      /// A file or folder.
      case path(String)

      var isPath: Bool {
        if case .path = self { true } else { false }
      }

      /// What messages call it.
      public var name: String {
        switch self {
        case .world(let seed, _): "world \(seed)"
        case .path(let path): path
        }
      }
    }
    public enum Split: Codable, Equatable, Sendable {
      /// The last fraction of the corpus's bytes is held back.
      case tail(Double)
      /// This fraction of the documents, chosen by hash, is held back.
      case documents(Double)
    }
    public enum Order: String, Codable, CaseIterable, Sendable { case shuffled, random }
    public enum Attention: String, Codable, CaseIterable, Sendable { case window, document }
    public struct WeightedSource: Codable, Equatable, Sendable {
      public var source: Source
      /// Against those of the others.
      public var weight: Double
      public init(_ source: Source, weight: Double = 1) {
        self.source = source
        self.weight = weight
      }
    }
    /// One, or those of a mixture.
    public var sources: [WeightedSource]
    public var split: Split
    public var order: Order
    public var attention: Attention

    /// - Parameter mixture: At least one source. The weight of a single one says nothing, and is 1.
    public init(
      mixture: [WeightedSource], split: Split = .tail(0.1), order: Order = .shuffled,
      attention: Attention = .window
    ) {
      precondition(!mixture.isEmpty, "data need a source")
      sources = mixture.count == 1 ? [WeightedSource(mixture[0].source)] : mixture
      self.split = split
      self.order = order
      self.attention = attention
    }

    public init(
      source: Source, split: Split = .tail(0.1), order: Order = .shuffled,
      attention: Attention = .window
    ) {
      self.init(
        mixture: [WeightedSource(source)], split: split, order: order, attention: attention)
    }

    /// The only source, or the first of a mixture.
    public var source: Source { sources[0].source }
    public var isMixture: Bool { sources.count > 1 }
    /// Which source each sequence of a phase reads.
    public var mixtureOrder: MixtureOrder { MixtureOrder(weights: sources.map(\.weight)) }
    /// Of each source: its part of the tokens, 0 to 1.
    public var shares: [Double] {
      let sum = sources.reduce(0) { $0 + $1.weight }
      return sources.map { $0.weight / sum }
    }
  }

  /// Learning rate over the steps of a phase.
  public struct Schedule: Codable, Equatable, Sendable {
    public enum Kind: String, Codable, CaseIterable, Sendable { case cosine, wsd, linear, constant }
    public var kind: Kind
    public var peak: Double
    public var final: Double
    /// Steps in which the rate rises linearly from 0 to the peak.
    public var warmupSteps: Int
    /// Last steps, in which `wsd` falls linearly to ``final``. Unused by the other kinds.
    public var decaySteps: Int
    public init(kind: Kind, peak: Double, final: Double, warmupSteps: Int, decaySteps: Int = 0) {
      self.kind = kind
      self.peak = peak
      self.final = final
      self.warmupSteps = warmupSteps
      self.decaySteps = decaySteps
    }
  }

  public struct Validation: Codable, Equatable, Sendable {
    /// Steps between validations; 0: only at the end of the phase.
    public var every: Int
    /// Most tokens a validation reads inside the phase; nil: all of them.
    public var tokenLimit: Int?
    /// Whether the validation at the end of the phase reads everything.
    public var isFullAtEnd: Bool
    public init(every: Int, tokenLimit: Int? = 65_536, isFullAtEnd: Bool = true) {
      self.every = every
      self.tokenLimit = tokenLimit
      self.isFullAtEnd = isFullAtEnd
    }
  }

  public struct Phase: Codable, Equatable, Sendable {
    public enum Kind: String, Codable, CaseIterable, Sendable {
      case tokenizer, pretrain, anneal, sft, reward, ppo, dpo, grpo, evaluate
    }
    public var kind: Kind
    public var name: String
    /// 0 where it ``awaitsRows``.
    public var steps: Int
    public var data: DataChoice
    public var schedule: Schedule
    public var validation: Validation
    /// What a phase that reads examples does with them; nil for one that reads running text.
    public var examples: Examples?
    /// Of an `sft` phase that trains adapters; nil: all weights.
    public var lora: AdapterChoice?
    /// Of a phase that has a reference.
    public var startsFrom: Start
    /// Of a `reward` or `dpo` phase.
    public var preference: Preference?
    /// Of a phase that samples.
    public var reinforcement: Reinforcement?
    /// What ends the phase before its last step.
    public var gates: Gates
    /// Limits beyond which a phase that samples takes smaller steps, until an iteration keeps
    /// within them again.
    public var brakes: AnswerLimits
    public init(
      kind: Kind, name: String, steps: Int, data: DataChoice, schedule: Schedule,
      validation: Validation, examples: Examples? = nil, lora: AdapterChoice? = nil,
      startsFrom: Start = .policy, preference: Preference? = nil,
      reinforcement: Reinforcement? = nil, gates: Gates = Gates(),
      brakes: AnswerLimits = AnswerLimits()
    ) {
      self.kind = kind
      self.name = name
      self.steps = steps
      self.data = data
      self.schedule = schedule
      self.validation = validation
      self.examples = examples
      self.lora = lora
      self.startsFrom = startsFrom
      self.preference = preference
      self.reinforcement = reinforcement
      self.gates = gates
      self.brakes = brakes
    }
  }

  public struct Checkpoints: Codable, Equatable, Sendable {
    /// Steps between checkpoints; 0: only at the end.
    public var every: Int
    /// How many to keep.
    public var keep: Int
    public init(every: Int, keep: Int = 3) {
      self.every = every
      self.keep = keep
    }
  }

  /// Tokens one step reads, all workers together.
  public var tokensPerStep: Int { batch.sequences * model.sequenceLength }
}
