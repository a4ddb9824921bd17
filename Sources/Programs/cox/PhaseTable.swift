import Evaluation
import Planning
import Settings
import Telemetry

/// A phase's line of the report.
struct PhaseRow {
  var summary: PhaseSummary
  var marks: PhaseExam.Marks?
  /// The k3 at which a gate of the plan ends the phase.
  var divergenceLimit: Double?

  /// Loss where there is one, and what tells more in phases of preference.
  fileprivate var heldBack: String? {
    let figures = summary.validationFigures
    let limit = divergenceLimit.map { " of \($0)" } ?? ""
    let parts = [
      summary.validationLoss.map { "loss " + Figures.fixed($0, 4) },
      figures["validation_accuracy"].map { "pairs right " + percent($0) },
      figures["validation_reward"].map { "reward " + Figures.fixed($0, 2) },
      figures["validation_kl"].map { "k1 " + Figures.fixed($0, 3) },
      figures["validation_kl_k3"].map { "k3 " + Figures.fixed($0, 3) + limit },
    ].compactMap { $0 }
    return parts.isEmpty ? nil : parts.joined(separator: ", ")
  }

  var node: JSONNode {
    var members: [(String, JSONNode)] = [
      ("phase", .text(summary.phase)), ("steps", .integer(summary.steps)),
      ("seconds", .decimal(summary.seconds)), ("tokens", .integer(summary.tokens)),
      ("mfu_nominal", .figure(summary.mfuNominal)),
      ("mfu_measured", .figure(summary.mfuMeasured)),
      ("peak_nominal_gflops", .figure(summary.peakNominalGigaflops)),
      ("peak_measured_gflops", .figure(summary.peakMeasuredGigaflops)),
      ("flops_formula", .text(summary.flopsFormula)),
      ("rollout_tokens", .integer(summary.rolloutTokens)),
      ("rollout_seconds", .decimal(summary.rolloutSeconds)),
      ("rollout_exchange_seconds", .figure(summary.rolloutExchangeSeconds)),
      ("rollout_share", .figure(summary.rolloutShare)),
      ("rollout_tokens_per_s", .figure(summary.rolloutTokensPerS)),
      ("validation_loss", .figure(summary.validationLoss)),
    ]
    members += summary.validationFigures.sorted { $0.key < $1.key }.map { ($0, .decimal($1)) }
    if let divergenceLimit { members.append(("divergence_limit", .decimal(divergenceLimit))) }
    return .object(members + (marks?.members ?? []))
  }
}

/// What each phase of a run cost and what its model is good for, in columns.
struct PhaseTable {
  let rows: [PhaseRow]
  /// The phase whose answers others are held against.
  let first: String?
  /// Of the whole run.
  let wallSeconds: Double

  /// MFU is of the nominal peak where every phase has it, else of the measured one in all rows.
  private var isNominal: Bool {
    let stepping = rows.filter { $0.summary.steps > 0 }
    return !stepping.isEmpty && stepping.allSatisfy { $0.summary.mfuNominal != nil }
  }

  private var columns: [(title: String, cell: (PhaseRow) -> String?)] {
    let isNominal = isNominal
    func percent(_ share: Double) -> String { Figures.fixed(100 * share, 1) }
    return [
      ("phase", \.summary.phase),
      ("steps", { $0.summary.stepsText == "0" ? nil : $0.summary.stepsText }),
      ("minutes", { Figures.fixed($0.summary.seconds / 60, 1) }),
      ("MFU %", { (isNominal ? $0.summary.mfuNominal : $0.summary.mfuMeasured).map(percent) }),
      ("answering %", { $0.summary.rolloutShare.map(percent) }),
      ("answers' tok/s", { $0.summary.rolloutTokensPerS.map { Figures.fixed($0, 0) } }),
      ("held back", \.heldBack),
      ("right %", { $0.marks?.trial.answers.accuracy.figures }),
      ("better than \(first ?? "sft") %", { $0.marks?.overFirst?.comparison.overall.rate.figures }),
    ]
  }

  var seconds: Double { rows.reduce(0) { $0 + $1.summary.seconds } }

  var lines: [String] {
    let columns = columns
    let cells = rows.map { row in columns.map { $0.cell(row) ?? "-" } }
    let totals = [
      ["total", "\(rows.reduce(0) { $0 + $1.summary.steps })", Figures.fixed(seconds / 60, 1)],
      ["wall clock", "", Figures.fixed(wallSeconds / 60, 1)],
    ]
    return Figures.table([columns.map(\.title)] + cells + totals) + [""] + legend
  }

  /// What the columns mean.
  private var legend: [String] {
    let peaks = rows.compactMap {
      isNominal ? $0.summary.peakNominalGigaflops : $0.summary.peakMeasuredGigaflops
    }.map { Figures.fixed($0, 1) }
    let range = Set(peaks).count > 1
      ? "\(peaks.min() ?? "") to \(peaks.max() ?? "")" : peaks.first
    var lines = ["minutes are of steps and answers; the wall clock's of all, validations and "
      + "checkpoints too"]
    if let range {
      lines.insert(
        "MFU by the PaLM formula, of the \(isNominal ? "nominal" : "measured") peak, "
          + "\(range) GFLOP/s", at: 0)
    }
    return lines
  }
}
