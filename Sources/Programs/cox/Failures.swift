import Checkpoints
import Corpus
import Evaluation
import Interchange
import Operators
import Settings
import System
import Telemetry
import Tensors
import Tokenization
import Transport

/// Runs `body`; errors of the modules leave it as what the user reads and the code they end with.
func readably<R>(_ body: () throws -> R) throws -> R {
  do {
    return try body()
  } catch let error as any ProgramError {
    throw error
  } catch let error as CheckpointError {
    throw PlainError("\(error)", code(of: error))
  } catch let error as CorpusError {
    throw PlainError("\(error)", code(of: error))
  } catch let error as EvaluationError {
    throw PlainError("\(error)", code(of: error))
  } catch let error as TokenizerError {
    throw PlainError("\(error)", .badData)
  } catch let error as InterchangeError {
    throw PlainError("\(error)", error.exitCode)
  } catch let error as TelemetryError {
    throw PlainError("\(error)", code(of: error))
  } catch let error as SystemError {
    throw PlainError("\(error)", code(of: error))
  } catch let error as TransportError {
    throw PlainError("\(error)", .failure)
  }
}

private func code(of error: SystemError) -> ExitCode {
  error.isNotFound ? .noInput : .inputOutput
}

private func code(of error: CheckpointError) -> ExitCode {
  switch error {
  case .system(let error): code(of: error)
  case .noneUsable: .noInput
  default: .badData
  }
}

private func code(of error: CorpusError) -> ExitCode {
  switch error {
  case .missing, .noTextFiles, .noTokenFiles: .noInput
  case .noPhase, .noStep: .usage
  case .system(let error): code(of: error)
  default: .badData
  }
}

private func code(of error: EvaluationError) -> ExitCode {
  if case .corpus(let error) = error { code(of: error) } else { .badData }
}

private func code(of error: TelemetryError) -> ExitCode {
  switch error {
  case .notARun: .noInput
  case .system(let error): code(of: error)
  case .notEncodable: .failure
  }
}

extension CheckpointReader {
  /// The tensors of one of the checkpoint's models.
  func layout(of role: ModelRole) throws(PlainError) -> ParameterLayout {
    guard let model = stateLayout.model(role) else {
      throw PlainError(
        "\(path) holds no \(role.rawValue) model, only "
          + stateLayout.models.map(\.role.rawValue).joined(separator: " and "), .badData)
    }
    return model.layout
  }
}

/// What computes products, as `--matmul` asks; says which and why unless it is the default.
func chosenBackend(
  _ choice: MatmulChoice, _ variant: KernelVariant
) throws(PlainError) -> MatmulBackend {
  do throws(BlasError) {
    let decision = try MatmulBackend.decide(choice, variant: variant)
    if choice != .builtin { note("matmul: \(decision.reason)") }
    return decision.backend
  } catch {
    throw PlainError("--matmul \(choice.rawValue): \(error)", .badPlan)
  }
}

/// A line on standard output: a result.
func put(_ line: String) { writeText(line + "\n", to: 1) }

/// Shows on standard error how far `body` is while it runs.
func withProgress<R>(_ subject: String, _ body: (ProgressLine) throws -> R) rethrows -> R {
  let progress = ProgressLine(subject)
  defer { progress.end() }
  return try body(progress)
}

/// A line on standard error: progress.
func note(_ line: String) { writeText(line + "\n", to: 2) }
