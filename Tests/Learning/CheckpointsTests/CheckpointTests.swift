import Checkpoints
import Glibc
import System
import Tensors
import Testing

@Suite struct `A checkpoint` {
  @Test func `written by several threads in any order reads back as it was`() throws {
    struct Share: TeamJob {
      let sample: SampleState
      let writer: CheckpointWriter
      func run(member: Int, memberCount: Int) {
        let count = writer.chunks.chunkCount
        for index in stride(from: member, to: count, by: memberCount).reversed() {
          // A failure shows as a missing chunk when the test commits.
          try? writer.writeChunk(index: index, bytes: sample.bytes(writer, index))
        }
      }
    }
    try withTemporaryDirectory { run in
      let sample = SampleState(vocabularySize: 9100)
      let writer = try sample.writer(in: run)
      #expect(writer.missingChunks == Array(0..<7))
      let team = ThreadTeam(memberCount: 3)
      team.run(Share(sample: sample, writer: writer))
      team.stop()
      #expect(writer.missingChunks == [])
      try writer.commit()

      let reader = try #require(try CheckpointReader.newest(inRun: run).reader)
      #expect(reader.name == "pretrain-40")
      #expect(reader.state == sample.state)
      #expect(try reader.tokenizer() == Array("{}".utf8))
      #expect(try reader.plan() == Array("{\"name\": \"sample\"}".utf8))
      let parts = (0..<3).map { _ in
        AlignedStorage<Float>(count: sample.layout.count, filledWith: 9).rows
      }
      try reader.loadAll(into: parts)
      for (read, written) in zip(parts, sample.windows) { #expect(read.array == written.array) }
      for index in 0..<reader.chunks.chunkCount {
        #expect(try reader.readChunk(index) == sample.bytes(writer, index))
      }
      #expect(try reader.digest() == sample.digest)
      #expect(try Files.list("\(run)/checkpoints") == ["pretrain-40"])
    }
  }

  @Test func `drops whatever lies between the tensors`() throws {
    try withTemporaryDirectory { run in
      let sample = SampleState()
      let gap = sample.layout.parameters[0].range.upperBound
      #expect(gap < sample.layout.parameters[1].offset)
      sample.firstMoment[gap] = 5
      sample.master[gap] = 6
      let reader = try CheckpointReader(try sample.save(in: run))
      let parts = (0..<3).map { _ in
        AlignedStorage<Float>(count: sample.layout.count, filledWith: 9).rows
      }
      try reader.loadAll(into: parts)
      for rows in parts { #expect(rows[gap] == 0) }
      #expect(try reader.digest() == sample.digest)
    }
  }

  @Test func `refuses chunks that cannot be right and says why`() throws {
    try withTemporaryDirectory { run in
      let sample = SampleState(vocabularySize: 1200)
      let writer = try sample.writer(in: run)
      let bytes = sample.bytes(writer, 0)
      #expect(throws: CheckpointError.noSuchChunk(index: 2, count: 2)) {
        try writer.writeChunk(index: 2, bytes: bytes)
      }
      #expect(throws: CheckpointError.noSuchChunk(index: -1, count: 2)) {
        try writer.writeChunk(index: -1, bytes: bytes)
      }
      let short = Array(bytes.dropLast(4))
      #expect(
        throws: CheckpointError.chunkSize(
          index: 0, byteCount: bytes.count - 4, expected: bytes.count)
      ) { try writer.writeChunk(index: 0, bytes: short) }
      try writer.writeChunk(index: 0, bytes: bytes)
      try writer.writeChunk(index: 0, bytes: bytes)
      var other = bytes
      other[100] ^= 1
      #expect(throws: CheckpointError.chunkDiffers(index: 0)) {
        try writer.writeChunk(index: 0, bytes: other)
      }
      #expect(throws: CheckpointError.missingChunks(count: 1, first: 1)) { try writer.commit() }
      try writer.writeChunk(index: 1, bytes: sample.bytes(writer, 1))
      try writer.commit()
      #expect(throws: CheckpointError.closed) { try writer.commit() }
      #expect(throws: CheckpointError.closed) { try writer.writeChunk(index: 0, bytes: bytes) }
      writer.abort()
      #expect(try CheckpointReader.newest(inRun: run).reader?.name == "pretrain-40")
    }
  }

  @Test func `notices bytes that changed between writing and committing`() throws {
    try withTemporaryDirectory { run in
      let sample = SampleState()
      let writer = try sample.writer(in: run)
      try writer.writeChunk(index: 0, bytes: sample.bytes(writer, 0))
      try flipBit(at: 64, of: "\(writer.aside)/second_moment.f32")
      #expect(throws: CheckpointError.chunkDamaged(index: 0)) { try writer.commit() }
      #expect(try Files.list("\(run)/checkpoints") == [])
    }
  }

  @Test func `given up, or left by a killed writer, is not a checkpoint`() throws {
    try withTemporaryDirectory { run in
      let sample = SampleState()
      let left = try sample.writer(in: run)
      try left.writeChunk(index: 0, bytes: sample.bytes(left, 0))
      let found = try CheckpointReader.newest(inRun: run)
      #expect(found.reader == nil)
      #expect(found.passedOver == [])
      try CheckpointFolder.removeLeftovers(inRun: run)
      #expect(try Files.list("\(run)/checkpoints") == [])
      let writer = try sample.writer(in: run)
      writer.abort()
      #expect(try Files.list("\(run)/checkpoints") == [])
    }
  }

  @Test func `replaces one of the same name when the run went back past it`() throws {
    try withTemporaryDirectory { run in
      try SampleState(salt: 1).save(in: run)
      let second = SampleState(salt: 2)
      try second.save(in: run)
      #expect(try CheckpointReader.open(run).digest() == second.digest)
      #expect(try Files.list("\(run)/checkpoints") == ["pretrain-40"])
    }
  }

  @Test func `that does not fit on the disk fails with that reason and harms nothing`() async {
    await #expect(processExitsWith: .success) {
      try withTemporaryDirectory { run in
        try SampleState(step: 10).save(in: run)
        // The system refuses to let a file grow past this, as it does when the disk is full.
        _ = signal(SIGXFSZ, SIG_IGN)
        var limit = rlimit(rlim_cur: 100_000, rlim_max: 100_000)
        _ = unsafe setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit)
        let error = #expect(throws: CheckpointError.self) {
          try SampleState(step: 20).save(in: run)
        }
        guard case .system(let cause)? = error, cause.isNoSpace else { exit(1) }
        guard try CheckpointReader.open(run).digest() == SampleState(step: 10).digest,
          try Files.list("\(run)/checkpoints") == ["pretrain-10"]
        else { exit(1) }
      }
    }
  }
}

@Suite struct `Finding a checkpoint` {
  @Test func `takes the newest that verifies and says why it passed over others`() throws {
    try withTemporaryDirectory { run in
      let folder = "\(run)/checkpoints"
      for step in [9, 10, 20, 30, 40, 50, 60] { try SampleState(step: step).save(in: run) }
      try flipBit(at: 4000, of: "\(folder)/pretrain-60/model.safetensors")
      try File("\(folder)/pretrain-50/first_moment.f32", .update).truncate(to: 1000)
      try Files.remove("\(folder)/pretrain-40/manifest.json")
      try Files.write("{", to: "\(folder)/pretrain-30/state.json")
      try flipBit(at: 70, of: "\(folder)/pretrain-20/state.json")
      let found = try CheckpointReader.newest(inRun: run)
      #expect(found.reader?.name == "pretrain-10")
      let size = 4 * SampleState().layout.count
      let reasons = Dictionary(uniqueKeysWithValues: found.passedOver.map { ($0.name, $0.reason) })
      #expect(reasons["pretrain-60"] == .checksumDiffers(file: "model.safetensors"))
      #expect(
        reasons["pretrain-50"]
          == .sizeDiffers(file: "first_moment.f32", byteCount: 1000, expected: size))
      #expect(reasons["pretrain-40"] == .missing(file: "manifest.json"))
      #expect(reasons["pretrain-30"] == .malformed(file: "state.json"))
      #expect(reasons["pretrain-20"] != nil)
      #expect(reasons.count == 5)
    }
  }

  @Test func `orders by phase before step`() throws {
    try withTemporaryDirectory { run in
      try SampleState(step: 100, phaseIndex: 1).save(in: run)
      var later = SampleState(step: 5, phaseIndex: 2)
      later.state.phaseName = "anneal"
      try later.save(in: run)
      #expect(try CheckpointReader.newest(inRun: run).reader?.name == "anneal-5")
    }
  }

  @Test func `of a run without any says so`() throws {
    try withTemporaryDirectory { run in
      let found = try CheckpointReader.newest(inRun: run)
      #expect(found.reader == nil)
      #expect(throws: CheckpointError.noneUsable(run: run)) { try CheckpointReader.open(run) }
    }
  }

  @Test func `does not trap on a state that no writer wrote`() throws {
    try withTemporaryDirectory { run in
      let path = try SampleState().save(in: run)
      let text = String(decoding: try Files.read("\(path)/state.json"), as: UTF8.self)
      for (key, value) in [
        ("model_width", "9000000000000000000"), ("layer_count", "-1"), ("head_width", "2147483648"),
        ("vocabulary_size", "1e30"), ("phase_index", "-3"),
      ] {
        let planted = text.split(separator: "\n", omittingEmptySubsequences: false).map { line in
          guard line.contains("\"\(key)\"") else { return String(line) }
          return "\"\(key)\" : \(value)" + (line.hasSuffix(",") ? "," : "")
        }.joined(separator: "\n")
        #expect(planted != text)
        try Files.write(planted, to: "\(path)/state.json")
        let found = try CheckpointReader.newest(inRun: run)
        #expect(found.reader == nil)
        #expect(found.passedOver.first?.reason == .malformed(file: "state.json"), "\(key)")
      }
    }
  }
}

@Suite struct `Keeping checkpoints` {
  @Test func `removes all but the newest, never one that may still be needed`() throws {
    try withTemporaryDirectory { run in
      for step in [10, 20, 30, 40] { try SampleState(step: step).save(in: run) }
      let folder = "\(run)/checkpoints"
      try Files.remove("\(folder)/pretrain-30/second_moment.f32")
      #expect(try CheckpointFolder.keep(newest: 2, inRun: run) == ["pretrain-10"])
      #expect(try Files.list(folder) == ["pretrain-20", "pretrain-30", "pretrain-40"])
      try flipBit(at: 4000, of: "\(folder)/pretrain-40/model.safetensors")
      #expect(throws: CheckpointError.checksumDiffers(file: "model.safetensors")) {
        try CheckpointFolder.keep(newest: 1, inRun: run)
      }
      #expect(try Files.list(folder) == ["pretrain-20", "pretrain-30", "pretrain-40"])
    }
  }
}

@Suite struct `A state of several models` {
  @Test func `is saved and read back, with a digest that every part changes`() throws {
    try withTemporaryDirectory { run in
      let sample = SampleState()
      let layout = StateLayout(
        sample.state.model, trained: [.policy, .value], frozen: [.reference, .reward],
        rolloutCount: 77)
      #expect(layout.parts.count == 3 + 1 + 1 + 3 + 1)
      let parts = layout.parts.enumerated().map { index, part in
        let rows = AlignedStorage<Float>(count: layout.count(of: part), filledWith: 0).rows
        // Padding is zero in every state that a worker holds.
        let ranges = switch part {
        case .rollouts: [0..<layout.rolloutCount]
        case .master(let role), .firstMoment(let role), .secondMoment(let role):
          layout[role].layout.parameters.map(\.range)
        }
        for range in ranges {
          for element in range { rows[element] = Float(element % 1013 + 7 * index) }
        }
        return rows
      }
      var state = sample.state
      state = CheckpointState(
        run: state.run, phaseIndex: 5, phaseName: "ppo", step: 3, position: 9,
        schedulePosition: 3, tokensTotal: 77, dataCursor: 0, profile: "portable", layout: layout)
      let writer = try CheckpointWriter(runDirectory: run, state: state, tokenizer: nil, plan: [])
      for index in 0..<writer.chunks.chunkCount {
        try writer.writeChunk(index: index, bytes: writer.chunks.bytes(of: index, in: parts))
      }
      try writer.commit()

      let reader = try CheckpointReader(writer.path)
      #expect(reader.stateLayout == layout)
      let read = layout.parts.map {
        AlignedStorage<Float>(count: layout.count(of: $0), filledWith: 9).rows
      }
      try reader.loadAll(into: read)
      for (written, found) in zip(parts, read) { #expect(written.array == found.array) }
      let score = AlignedStorage<Float>(count: layout[.reward].layout.count, filledWith: 0).rows
      try reader.loadWeights(of: .reward, into: score)
      #expect(score.array == parts[4].array)

      func digest() -> String {
        Digest.hex(layout: layout, parts: parts, phaseIndex: 5, step: 3, tokensTotal: 77)
      }
      var seen: Set<String> = [digest()]
      #expect(try reader.digest() == digest())
      for rows in parts {
        rows[1] += 1
        #expect(seen.insert(digest()).inserted)
      }
      for name in ["reward.safetensors", "value.first_moment.f32", "rollouts.f32"] {
        let file = "\(writer.path)/\(name)"
        let bytes = try Files.read(file)
        try Files.remove(file)
        #expect(throws: CheckpointError.missing(file: name)) { try CheckpointReader(writer.path) }
        try Files.write(bytes, to: file)
      }
    }
  }
}

@Suite struct `A state of adapters` {
  @Test func `is saved and read back beside the weights that they make and were added to`() throws {
    try withTemporaryDirectory { run in
      let sample = SampleState()
      let choice = AdapterChoice(rank: 5, alpha: 7.5, targets: [.down, .query])
      let layout = StateLayout(
        sample.state.model, trained: [.adapter], frozen: [.policy, .reference], adapter: choice)
      let parts = layout.parts.enumerated().map { index, part in
        let count = layout.count(of: part)
        let rows = AlignedStorage<Float>(count: count, filledWith: 0).rows
        let role: ModelRole = index < 1 ? .policy : index < 2 ? .reference : .adapter
        for range in layout[role].layout.parameters.map(\.range) {
          for element in range { rows[element] = Float(element % 1013 + 7 * index) }
        }
        return rows
      }
      let state = CheckpointState(
        run: "r", phaseIndex: 2, phaseName: "sft", step: 3, position: 9, schedulePosition: 3,
        tokensTotal: 77, dataCursor: 0, profile: "portable", layout: layout)
      let writer = try CheckpointWriter(runDirectory: run, state: state, tokenizer: nil, plan: [])
      for index in 0..<writer.chunks.chunkCount {
        try writer.writeChunk(index: index, bytes: writer.chunks.bytes(of: index, in: parts))
      }
      try writer.commit()
      let reader = try CheckpointReader(writer.path)
      #expect(reader.stateLayout == layout && reader.stateLayout.adapter == choice)
      let read = layout.parts.map {
        AlignedStorage<Float>(count: layout.count(of: $0), filledWith: 9).rows
      }
      try reader.loadAll(into: read)
      for (written, found) in zip(parts, read) { #expect(written.array == found.array) }
      // The model's own file holds the merged weights, under the names that others know.
      let header = try SafetensorsHeader(readingFrom: "\(writer.path)/model.safetensors")
      #expect(header["model.layers.0.mlp.down_proj.weight"] != nil && !header.tensors.contains {
        $0.name.contains("lora")
      })
      let own = try SafetensorsHeader(readingFrom: "\(writer.path)/adapter.safetensors")
      #expect(own["model.layers.1.mlp.down_proj.lora_A.weight"]?.shape == [5, 51])
      #expect(own["model.layers.1.self_attn.q_proj.lora_B.weight"]?.shape == [60, 5])
      #expect(own.tensors.count == 2 * 2 * 2)
    }
  }
}

@Suite struct `The digest` {
  static let hasPython = unsafe system("python3 -c '' >/dev/null 2>&1") == 0

  @Test func `is that of a straightforward computation`() {
    let sample = SampleState()
    var hash = SHA256()
    for parameter in sample.layout.parameters.sorted(by: { $0.name < $1.name }) {
      hash.update(Array(parameter.name.utf8) + [0])
      for dimension in parameter.shape { hash.update(UInt64(dimension)) }
      for rows in [sample.master, sample.firstMoment, sample.secondMoment] {
        for value in rows[parameter.range].array {
          hash.update((0..<4).map { UInt8(truncatingIfNeeded: value.bitPattern >> (8 * $0)) })
        }
      }
    }
    for number in [1, 40, 12_385] as [UInt64] { hash.update(number) }
    #expect(sample.digest == hash.hexDigest)
  }

  @Test func `changes with one bit of any part and with the position`() {
    let sample = SampleState()
    var seen: Set<String> = [sample.digest]
    for rows in [sample.master, sample.firstMoment, sample.secondMoment] {
      let before = rows[1000]
      rows[1000] = Float(bitPattern: before.bitPattern ^ 1)
      #expect(seen.insert(sample.digest).inserted)
      rows[1000] = before
    }
    for change in [
      { $0.step += 1 }, { $0.phaseIndex += 1 }, { $0.tokensTotal += 1 },
    ] as [(inout CheckpointState) -> Void] {
      var other = sample
      change(&other.state)
      #expect(seen.insert(other.digest).inserted)
    }
  }

  @Test(.enabled(if: hasPython))
  func `is recomputed from the files by a Python script that knows nothing of ours`() throws {
    try withTemporaryDirectory { run in
      let sample = SampleState(vocabularySize: 4700)
      let path = try sample.save(in: run)
      let script = Files.parent(of: Files.parent(of: #filePath)) + "/digest.py"
      let status = unsafe system("python3 '\(script)' '\(path)' > '\(run)/out'")
      #expect(status == 0)
      #expect(String(decoding: try Files.read("\(run)/out"), as: UTF8.self) == sample.digest + "\n")
    }
  }
}
