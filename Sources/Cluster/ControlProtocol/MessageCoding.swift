internal import FoundationEssentials

/// A control message that cannot be read.
public enum ProtocolError: Error, Equatable, Sendable {
  case unreadable(String)
}

/// Control messages as JSON bytes. Foreign bytes end in a typed error, never in a trap.
public enum MessageCoding {
  /// The bytes of a message.
  public static func encode<Message: Encodable>(_ message: Message) -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    encoder.nonConformingFloatEncodingStrategy = .convertToString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    guard let data = try? encoder.encode(message) else {
      preconditionFailure("\(Message.self) does not encode")
    }
    return [UInt8](data)
  }

  /// - Throws: ``ProtocolError/unreadable(_:)`` with what the decoder says, or what the message
  ///   says of itself.
  public static func decode<Message: ForeignMessage>(
    _ type: Message.Type, from bytes: [UInt8]
  ) throws(ProtocolError) -> Message {
    let decoder = JSONDecoder()
    decoder.nonConformingFloatDecodingStrategy = .convertFromString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    let message: Message
    do {
      message = try decoder.decode(type, from: Data(bytes))
    } catch {
      throw .unreadable("\(type): \(error)")
    }
    if let reason = message.impossibility { throw .unreadable("\(type): \(reason)") }
    return message
  }
}
