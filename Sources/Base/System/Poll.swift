internal import CSystem
internal import Glibc

/// What a descriptor is ready for, or asked about.
public struct PollEvents: OptionSet, Sendable {
  public let rawValue: Int16
  public init(rawValue: Int16) { self.rawValue = rawValue }

  public static let readable = PollEvents(rawValue: Int16(CS_READABLE))
  public static let writable = PollEvents(rawValue: Int16(CS_WRITABLE))
  /// The peer will send no more, though bytes may still wait to be read.
  public static let halfClosed = PollEvents(rawValue: Int16(CS_HALF_CLOSED))
  /// Reported without being asked for: an error is pending.
  public static let failed = PollEvents(rawValue: Int16(CS_FAILED))
  /// Reported without being asked for: both directions have ended.
  public static let ended = PollEvents(rawValue: Int16(CS_ENDED))
}

/// The descriptors that one thread waits for. Allocates when it grows, never in ``wait(until:)``.
public struct PollSet: Sendable {
  private var entries: [cs_poll_entry] = []

  public init() {}

  /// Adds a descriptor and returns its index. The descriptor stays open as long as the set waits.
  @discardableResult
  public mutating func add(_ descriptor: Int32, _ events: PollEvents) -> Int {
    entries.append(cs_poll_entry(descriptor: descriptor, events: events.rawValue, revents: 0))
    return entries.count - 1
  }

  /// Replaces what entry `index` waits for; a nil descriptor leaves it out.
  public mutating func replace(_ index: Int, _ descriptor: Int32?, _ events: PollEvents) {
    entries[index] = cs_poll_entry(
      descriptor: descriptor ?? -1, events: events.rawValue, revents: 0)
  }

  /// What the last wait found for entry `index`.
  public func found(_ index: Int) -> PollEvents { PollEvents(rawValue: entries[index].revents) }

  /// Waits until an entry is ready or the deadline has come; a signal may end it early.
  ///
  /// - Returns: How many entries are ready.
  /// - Throws: ``SystemError/failed(call:subject:code:)``.
  @discardableResult
  public mutating func wait(until deadline: Deadline) throws(SystemError) -> Int {
    let code = unsafe cs_poll(&entries, Int32(entries.count), deadline.remainingNanoseconds)
    guard code >= 0 else {
      throw .failed(call: "ppoll", subject: "\(entries.count) descriptors", code: -code)
    }
    return Int(code)
  }
}

/// Wakes a thread that waits in a ``PollSet``. Any thread may set it.
public final class WakeEvent: Sendable {
  private let descriptor: Descriptor

  /// - Throws: ``SystemError/failed(call:subject:code:)`` when descriptors have run out.
  public init() throws(SystemError) {
    let raw = cs_event()
    guard raw >= 0 else { throw .failed(call: "eventfd", subject: "wake event", code: -raw) }
    descriptor = Descriptor(taking: raw)
  }

  /// For the poll set: readable while the event is set.
  public var raw: Int32 { descriptor.raw }
  public func set() { cs_event_set(descriptor.raw) }
  public func clear() { cs_event_clear(descriptor.raw) }
}
