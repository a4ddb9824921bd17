internal import System

/// Writes step records as a TensorBoard event file: a view of `metrics.jsonl`.
///
///     record = u64 length | u32 masked CRC of the length | event | u32 masked CRC of the event
///
/// - Source: tensorflow/core/lib/io/record_writer and tensorflow/core/util/event.proto.
public final class TensorBoardWriter {
  private let file: File
  private var latest: StepRecord?

  /// Starts a new file in the run's folder `tensorboard`; files of earlier starts stay.
  ///
  /// - Parameter host: For the file's name, as TensorBoard's own writers have it.
  public init(
    runDirectory: String, unixMilliseconds: Int64, host: String, process: Int32
  ) throws(TelemetryError) {
    let folder = "\(runDirectory)/\(RunFile.tensorBoard)"
    let seconds = String(unixMilliseconds / 1000)
    let stamp = String(repeating: "0", count: max(0, 10 - seconds.count)) + seconds
    let path = "\(folder)/events.out.tfevents.\(stamp).\(host).\(process).0"
    file = try wrapping { () throws(SystemError) in
      try Files.createDirectory(folder)
      return try File(path, .append)
    }
    try append(event: Self.versionEvent(wallTime: Double(unixMilliseconds) / 1000))
  }

  /// Adds the scalars of a step; only those of its validation where the step was added before.
  ///
  /// - Parameter globalStep: Steps of all phases counted through; TensorBoard's horizontal axis.
  public func append(_ record: StepRecord, globalStep: Int) throws(TelemetryError) {
    let wallTime = Double(Timestamp.unixMilliseconds(record.time) ?? 0) / 1000
    let isKnown = record.isEvaluation || latest.map(record.completes) ?? false
    latest = record
    let scalars = isKnown ? Self.validation(record) : Self.scalars(record)
    try append(event: Self.event(scalars, globalStep: globalStep, wallTime: wallTime))
  }

  private func append(event: [UInt8]) throws(TelemetryError) {
    let bytes = Self.framed(event)
    try wrapping { () throws(SystemError) in try file.append(bytes) }
  }

  package static func versionEvent(wallTime: Double) -> [UInt8] {
    var event = ProtocolBuffer()
    event.put(1, wallTime)
    event.put(3, Array("brain.Event:2".utf8))
    return event.bytes
  }

  private typealias Scalar = (tag: String, value: Double?)

  private static func validation(_ record: StepRecord) -> [Scalar] {
    [("val/loss", record.validationLoss), ("val/bpb", record.validationBitsPerByte)]
  }

  private static func scalars(_ record: StepRecord) -> [Scalar] {
    var scalars: [Scalar] = [
      ("train/loss", record.loss), ("train/grad_norm", record.gradNorm),
      ("train/lr", record.learningRate),
    ]
    scalars += validation(record)
    scalars += [
      ("perf/mfu_nominal", record.mfuNominal),
      ("perf/mfu_measured", record.mfuMeasured), ("perf/tokens_per_s", record.tokensPerSecond),
      ("perf/step_s", record.seconds),
      (
        "perf/comm_fraction",
        record.seconds > 0 ? record.secondsBy.exchange / record.seconds : nil
      ),
    ]
    scalars += record.nodes.map { ("node/\($0.name)/step_s", $0.seconds) }
    scalars += record.extra.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    return scalars
  }

  private static func event(
    _ scalars: [Scalar], globalStep: Int, wallTime: Double
  ) -> [UInt8] {
    var summary = ProtocolBuffer()
    for case (let tag, let value?) in scalars {
      var scalar = ProtocolBuffer()
      scalar.put(1, Array(tag.utf8))
      scalar.put(2, Float(value))
      summary.put(1, scalar.bytes)
    }
    var event = ProtocolBuffer()
    event.put(1, wallTime)
    event.put(2, UInt64(globalStep))
    event.put(5, summary.bytes)
    return event.bytes
  }

  package static func framed(_ event: [UInt8]) -> [UInt8] {
    let length = littleEndian(UInt64(event.count), 8)
    return length + littleEndian(UInt64(maskedChecksum(length)), 4) + event
      + littleEndian(UInt64(maskedChecksum(event)), 4)
  }

  /// A CRC that stays meaningful when CRCs are part of the data.
  private static func maskedChecksum(_ bytes: [UInt8]) -> UInt32 {
    let crc = CRC32C.checksum(bytes)
    return (crc >> 15 | crc << 17) &+ 0xA282_EAD8
  }
}

private func littleEndian(_ value: UInt64, _ byteCount: Int) -> [UInt8] {
  (0..<byteCount).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
}

/// The three wire types of protocol buffers that an event needs.
private struct ProtocolBuffer {
  private(set) var bytes: [UInt8] = []

  private mutating func key(_ field: Int, _ wireType: Int) {
    variable(UInt64(field << 3 | wireType))
  }

  private mutating func variable(_ value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    bytes.append(UInt8(rest))
  }

  mutating func put(_ field: Int, _ value: UInt64) {
    key(field, 0)
    variable(value)
  }

  mutating func put(_ field: Int, _ value: Double) {
    key(field, 1)
    bytes += littleEndian(value.bitPattern, 8)
  }

  mutating func put(_ field: Int, _ value: Float) {
    key(field, 5)
    bytes += littleEndian(UInt64(value.bitPattern), 4)
  }

  mutating func put(_ field: Int, _ value: [UInt8]) {
    key(field, 2)
    variable(UInt64(value.count))
    bytes += value
  }
}
