internal import Operators
internal import Settings
internal import System
internal import Tensors
internal import Transformer

/// What every measurement of a shape's parts begins with.
struct BenchSetup {
  let preset: ModelPreset
  let engine: Engine
  /// How often each part is measured.
  let rounds: Int

  /// - Throws: What the options ask for and this machine does not have.
  init(_ invocation: Invocation, rounds: Int, times: OperatorTimes? = nil) throws {
    preset = BenchCommand.shape(invocation)
    engine = try BenchCommand.engine(invocation, times: times)
    self.rounds = rounds
  }

  /// The figures that come first: what was measured, and on what.
  var head: [(String, JSONNode)] {
    [
      ("shape", .text(preset.rawValue)), ("threads", .integer(engine.team.memberCount)),
      ("kernels", .text(engine.variant.name)), ("profile", .text(engine.profile)),
      ("dtype", .text(engine.precision.rawValue)),
    ]
  }

  /// The shape's weights, packed.
  func weights(_ value: (Int) -> Float) -> ModelWeights {
    let layout = ParameterLayout(preset.model)
    let master = AlignedStorage(count: layout.count, filledWith: Float(0)).rows
    master.withMutableSpan { span in
      for index in span.indices { span[index] = value(index) }
    }
    let weights = ModelWeights(layout: layout, master: master, form: engine.form)
    weights.pack(engine)
    return weights
  }

  /// Seconds that `body` takes: the median of ``rounds`` calls, after one that is not timed.
  func medianSeconds(_ body: () -> Void) -> Double {
    body()
    return BenchCommand.median((0..<rounds).map { _ in Self.seconds(body) })
  }

  /// Seconds that one call takes.
  static func seconds(_ body: () -> Void) -> Double {
    let start = Clock.monotonicSeconds
    body()
    return Clock.monotonicSeconds - start
  }
}
