/// Random text from a seed, full of what splitters treat differently.
struct RandomText {
  private var state: UInt64

  init(seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }

  mutating func below(_ bound: Int) -> Int {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return Int((state >> 33) % UInt64(bound))
  }

  private static let common: [String] = [
    " ", "  ", "\n", "\r\n", "\t", "'s", "'LL", "'re", "'", "\u{17F}", "'\u{17F}", "a", "Zoo", "e",
    "1", "23", "4567", ".", "!!", "--", "\u{A0}", "\u{3000}", "\u{85}", "\u{E9}", "\u{DF}",
    "\u{4F60}\u{597D}", "\u{1F600}", "\u{10400}", "\u{BD}", "\u{2160}", "\u{301}", "\u{200B}",
    "I'm", "\u{FEFF}", "\u{1D7D8}", "\u{661}", "\"", "\\", "<|bos|>",
  ]

  mutating func text(partCount: Int) -> String {
    var text = ""
    for _ in 0..<partCount {
      if below(8) == 0, let scalar = Unicode.Scalar(UInt32(below(0x30000))) {
        text.unicodeScalars.append(scalar)
      } else {
        text += Self.common[below(Self.common.count)]
      }
    }
    return text
  }

  mutating func bytes(count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(below(256)) } }
}
