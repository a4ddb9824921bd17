import System
import Testing

@Suite struct `Host and its figures` {
  @Test func `has a name and a processor, and knows its memory`() throws {
    #expect(!Host.name.isEmpty)
    #expect(!Host.processorFeatures.isEmpty)
    let total = try #require(Host.memoryByteCount)
    let peak = try #require(Host.peakResidentByteCount)
    #expect(total > 1 << 26)
    #expect(peak > 1 << 20 && peak < total)
  }

  @Test func `a limit is a plausible number, not the word max nor the huge number for none`() {
    #expect(Host.limit(inText: "1073741824\n") == 1 << 30)
    #expect(Host.limit(inText: "max\n") == nil)
    #expect(Host.limit(inText: "9223372036854771712\n") == nil)
    #expect(Host.limit(inText: "") == nil)
  }

  @Test func `a figure is taken from its own line only, and only in kB`() {
    let text = "MemTotalX: 1 kB\nMemTotal:   24684084 kB\nMemFree: 5 pages\n"
      + "Big: 9223372036854775807 kB\n"
    #expect(Host.kibibytes("MemTotal", inText: text) == 24_684_084 * 1024)
    #expect(Host.kibibytes("MemFree", inText: text) == nil)
    #expect(Host.kibibytes("Big", inText: text) == nil)
    #expect(Host.kibibytes("VmHWM", inText: text) == nil)
  }
}
