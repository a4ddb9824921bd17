import Checkpoints
import CoordinatorRuntime
import ControlProtocol
import Corpus
import System
import Tensors

/// Files that programs of this project wrote, or somebody else in their place.
let checkpointParsers: [ForeignParser] = [safetensors, manifest, checkpointState, shard, ledger]

private let safetensors = ForeignParser(
  "safetensors",
  seeds: {
    let tensors = [("model.norm.weight", [4]), ("lm_head.weight", [2, 4])]
    let header = SafetensorsHeader(
      laying: tensors.map { (name: $0.0, shape: $0.1) }, as: .bf16,
      metadata: ["format": "pt", "quote": "\"\u{1}\\"])
    return [header.bytes + [UInt8](repeating: 1, count: 24)]
  },
  read: { bytes in
    guard
      let count = try? SafetensorsHeader.jsonByteCount(
        prefix: Array(bytes.prefix(8)), fileByteCount: bytes.count)
    else { return }
    let json = Array(bytes[8..<8 + count])
    readSafetensors(json, fileByteCount: bytes.count)
    // Lengths that do not add up end the reading early, so a second one has the seed's.
    readSafetensors(json, fileByteCount: 8 + count + 24)
  })

private func readSafetensors(_ json: [UInt8], fileByteCount: Int) {
  guard let header = try? SafetensorsHeader(json: json, fileByteCount: fileByteCount) else {
    return
  }
  for tensor in header.tensors { requireSame(header[tensor.name], tensor, "a tensor by name") }
  let written = header.bytes
  let dataByteCount = header.fileByteCount - header.dataOffset
  let again = try? SafetensorsHeader(
    json: Array(written.dropFirst(8)), fileByteCount: written.count + dataByteCount)
  requireSame(again?.tensors, header.tensors, "a safetensors header written again")
}

private let modelJSON = """
  {"feed_forward_width": 8, "head_count": 2, "head_width": 2, "is_head_tied": true, \
  "key_value_head_count": 1, "layer_count": 2, "model_width": 4, "norm_epsilon": 1e-05, \
  "rope_theta": 10000, "sequence_length": 8, "vocabulary_size": 16}
  """

private let checkpointState = ForeignParser(
  "checkpoint-state",
  seeds: {
    [
      """
      {"data_cursor": 64, "model": \(modelJSON), "phase_index": 1, "phase_name": "pretrain", \
      "position": 12, "profile": "avx2", "run": "r", "schedule_position": 10, "step": 10, \
      "tokens_total": 5120}
      """,
      """
      {"data_cursor": 64, "frozen": ["reference", "reward"], "model": \(modelJSON), \
      "phase_index": 4, "phase_name": "ppo", "position": 12, "profile": "avx2", \
      "rollout_count": 96, "run": "r", "schedule_position": 10, "step": 10, \
      "tokens_total": 5120, "trained": ["policy", "value"]}
      """,
      """
      {"adapter": {"alpha": 4.5, "rank": 2, "targets": ["query", "down"]}, "data_cursor": 64, \
      "frozen": ["policy", "reference"], "model": \(modelJSON), "phase_index": 2, \
      "phase_name": "sft", "position": 12, "profile": "avx2", "run": "r", \
      "schedule_position": 10, "step": 10, "tokens_total": 5120, "trained": ["adapter"]}
      """,
    ].map { Array($0.utf8) }
  },
  read: { bytes in
    guard let state = try? CheckpointState(reading: bytes) else { return }
    _ = state.layout.chunks.chunkCount
    _ = state.layout[.policy].layout.parameterCount
    _ = state.name
  })

private let manifest = ForeignParser(
  "manifest",
  seeds: {
    let names = [
      "model.safetensors", "first_moment.f32", "second_moment.f32", "state.json",
      "plan.resolved.json",
    ]
    let files = names.map { #"{"bytes": 12, "name": "\#($0)", "sha256": "00"}"# }
    return [
      """
      {"chunk_checksums": [1, 4294967295], "element_count": 64, "files": \
      [\(files.joined(separator: ", "))], "format": 1, \
      "tensors": [{"name": "model.norm.weight", "offset": 0, "shape": [4]}]}
      """
    ].map { Array($0.utf8) }
  },
  read: { bytes in _ = try? Manifest(reading: bytes) })

private let shard = ForeignParser(
  "shard",
  seeds: {
    [2, 4].map { width in
      let header = Shard.Header(
        tokenByteCount: width, tokenCount: 5, documentCount: 2, firstToken: 0, textByteCount: 9,
        isLast: true, identity: [UInt8](repeating: 7, count: 32))
      return Shard.bytes(header, tokens: [1, 2, 3, 4, 5], documentStarts: [0, 3])
    }
  },
  read: { bytes in
    _ = try? Shard.parse(bytes, "shard")
    let checked = Array(bytes.dropLast(32))
    var hash = SHA256()
    hash.update(checked)
    _ = try? Shard.parse(checked + hash.digest, "shard")
  })

private let ledger = ForeignParser(
  "ledger",
  seeds: {
    let records: [LedgerRecord] = [
      .opened(run: 7, incarnation: 1, planDigest: "ab", tokenizerDigest: "cd"),
      .opened(run: 7, incarnation: 2, planDigest: "ab", tokenizerDigest: nil),
      .joined(worker: 0, name: "w0"),
      .view(number: 1, workers: ["w0"], position: 0), .committed(position: 4),
      .view(number: 2, workers: [], position: 4, profile: "portable", selfTest: "ef"),
      .phaseBegan(index: 1, name: "pretrain"), .gateClosed(from: 3, to: 9, reason: "loss"),
      .checkpointed(position: 4, name: "pretrain-4"), .rewound(from: 6, to: 4),
      .amended(changes: ["keep: 3 -> 4"], position: 4), .ended(reason: "stopped", position: 4),
    ]
    return [Array(records.map(Ledger.line).joined().utf8)]
  },
  read: { bytes in
    readLedger(bytes)
    readLedger(
      bytes.split(separator: 0x0A).flatMap { line in
        let json = Array(line.dropFirst(9))
        let digits = String(CRC32C.checksum(json), radix: 16)
        let sum = String(repeating: "0", count: 8 - digits.count) + digits
        return Array("\(sum) ".utf8) + json + [0x0A]
      })
  })

private func readLedger(_ bytes: [UInt8]) {
  let contents = Ledger.parse(bytes)
  _ = LedgerSummary(contents.records)
  let written = Array(contents.records.map(Ledger.line).joined().utf8)
  requireSame(Ledger.parse(written).records, contents.records, "a ledger written again")
}
