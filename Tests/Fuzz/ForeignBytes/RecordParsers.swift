import Telemetry

/// A run's records, as `cox tail` reads them.
let recordParsers: [ForeignParser] = [records]

private let step = """
  {"exchange_hidden":0,"extra_loss":1.5,"flops_formula":"6 N","flops_per_token":1e6,"goodput":1,\
  "grad_norm":1,"learning_rate":0.001,"loss":5.5,"mfu_measured":0.5,"mfu_measured_causal":0.4,\
  "mfu_nominal":null,"mfu_nominal_causal":null,"nodes":[{"gflops":10,"name":"w0","seconds":1,\
  "wait":0}],"peak_measured_gflops":116,"peak_nominal_gflops":null,"phase":"pretrain","run":"r",\
  "seconds":1.5,"seconds_by":{"backward":0.5,"checkpoint":0,"data":0,"exchange":0,"forward":1,\
  "optimizer":0,"other":0,"wait":0},"skipped":false,"slices_recomputed":0,"step":1,\
  "time":"2026-03-01T12:00:00.250Z","tokens":512,"tokens_per_s":341.3,"tokens_total":512,\
  "validation_bits_per_byte":null,"validation_loss":4.5,"validation_tokens":64,"view":1,"workers":1}

  """

private let event = """
  {"event":"rewound","from_step":3,"node":"w0","phase":"pretrain","run":"r","step":1,"text":"back",\
  "time":"2026-03-01T12:00:01.250Z","view":1}

  """

private let outline =
  #"{"name": "r", "phases": [{"name": "pretrain", "steps": 40}, {"name": "b"}]}"#

/// metrics.jsonl, events.jsonl and plan.resolved.json, with a zero byte between them.
private let records = ForeignParser(
  "records",
  seeds: {
    let twice = step + step.replacing("\"step\":1,", with: "\"step\":2,")
    // Counts whose sum is more than 64 bits hold.
    let large = twice.replacing("\"tokens\":512,", with: "\"tokens\":4611686018427387904,")
    return [twice + "\0" + event + "\0" + outline, step + step, large].map { Array($0.utf8) }
  },
  read: { bytes in
    let parts = bytes.split(separator: 0, maxSplits: 2, omittingEmptySubsequences: false)
      .map { Array($0) }
    let reader = RunReader(metrics: parts[0], events: parts.count > 1 ? parts[1] : [])
    let outline = parts.count > 2 ? RunOutline(json: parts[2]) : nil
    let report = TailReport(reader, outline)
    _ = report.text(withNodes: true)
    _ = try? report.json()
    for record in reader.log.records { _ = Timestamp.unixMilliseconds(record.time) }
  })
