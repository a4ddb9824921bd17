/// Remembers what a piece of text stands for: a number per distinct byte sequence.
///
/// Open addressing over an arena of bytes. Text repeats its words, so almost every look-up hits.
struct PieceCache: Sendable {
  private struct Entry {
    var start: UInt32
    var count: UInt32
    var hash: UInt32
  }

  private var arena: [UInt8] = []
  private var entries: [Entry] = []
  /// Index into ``entries`` plus 1; 0 is free.
  private var slots: [UInt32]

  init(expectedCount: Int = 1 << 12) {
    var capacity = 16
    while capacity < 2 * expectedCount { capacity *= 2 }
    slots = [UInt32](repeating: 0, count: capacity)
  }

  /// Distinct pieces met.
  var count: Int { entries.count }
  /// Bytes of all pieces met.
  var byteCount: Int { arena.count }

  /// The bytes of piece `index`.
  func piece(_ index: Int) -> ArraySlice<UInt8> {
    let entry = entries[index]
    return arena[Int(entry.start)..<Int(entry.start) + Int(entry.count)]
  }

  /// The number of the piece, or nil if it is new.
  func index(of text: Span<UInt8>, _ range: Range<Int>, hash: UInt32) -> Int? {
    let slots = self.slots.span
    let entries = self.entries.span
    let mask = slots.count - 1
    var slot = Int(hash) & mask
    while true {
      let found = slots[slot]
      if found == 0 { return nil }
      let entry = entries[Int(found) - 1]
      if entry.hash == hash, entry.count == range.count, isEqual(entry, text, range.lowerBound) {
        return Int(found) - 1
      }
      slot = (slot + 1) & mask
    }
  }

  /// Adds a piece that ``index(of:_:hash:)`` did not find; its number is the former ``count``.
  mutating func insert(_ text: Span<UInt8>, _ range: Range<Int>, hash: UInt32) {
    let entry = Entry(start: UInt32(arena.count), count: UInt32(range.count), hash: hash)
    for index in range { arena.append(text[index]) }
    entries.append(entry)
    if 2 * entries.count > slots.count { grow() } else { place(entries.count - 1) }
  }

  private func isEqual(_ entry: Entry, _ text: Span<UInt8>, _ start: Int) -> Bool {
    let arena = self.arena.span
    let first = Int(entry.start)
    for offset in 0..<Int(entry.count) where arena[first + offset] != text[start + offset] {
      return false
    }
    return true
  }

  private mutating func place(_ index: Int) {
    let mask = slots.count - 1
    var slot = Int(entries[index].hash) & mask
    while slots[slot] != 0 { slot = (slot + 1) & mask }
    slots[slot] = UInt32(index + 1)
  }

  private mutating func grow() {
    slots = [UInt32](repeating: 0, count: 2 * slots.count)
    for index in entries.indices { place(index) }
  }

  /// FNV-1a with a final mix; pieces are a few bytes long.
  @inline(__always)
  static func hash(_ text: Span<UInt8>, _ range: Range<Int>) -> UInt32 {
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    for index in range { hash = (hash ^ UInt64(text[index])) &* 0x100_0000_01B3 }
    return UInt32(truncatingIfNeeded: hash ^ (hash >> 29))
  }
}
