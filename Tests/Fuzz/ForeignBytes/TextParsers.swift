import Corpus
import System
import Tokenization

/// Text and tokenizers that a user brings along.
let textParsers: [ForeignParser] = [
  utf8, jsonLines, jsonScanner, tokenizerFile, rankFile,
  compressed("gzip", .gzip, gzipSample), compressed("zstd", .zstd, zstdSample),
]

private let sample = Array(
  "The cat's 12345 h\u{E4}user,\r\n\n  don't \u{65E5}\u{672C}\u{8A9E} \u{1F600}\t!!\n".utf8)

/// 275 ids: 256 bytes, 12 merges, 7 special tokens.
private let smallTokenizer: Tokenizer? = {
  let text = Array(repeating: sample, count: 2).flatMap { $0 }
  return try? Tokenizer.train(.bpe, on: text + Array("the cat the cat then that".utf8),
    vocabularySize: 275)
}()

private let utf8 = ForeignParser(
  "utf8",
  seeds: { [sample] },
  read: { bytes in
    let text = String(validating: bytes, as: UTF8.self)
    let bad = firstInvalidUTF8(in: bytes, range: 0..<bytes.count)
    requireSame(bad == nil, text != nil, "what the standard library says of \(bytes)")
    guard let tokenizer = smallTokenizer else { preconditionFailure("the sample trains none") }
    guard let text else {
      requireSame((try? tokenizer.encode(bytes)) == nil, true, "broken text has no tokens")
      return
    }
    for splitter in Splitter.allCases {
      requireSame(splitter.pieces(of: text).flatMap { $0 }, bytes, "the pieces of \(splitter)")
    }
    requireSame((try? tokenizer.encode(bytes)).map(tokenizer.decode), bytes, "text from tokens")
  })

private let jsonLines = ForeignParser(
  "jsonl",
  seeds: {
    [
      #"{"text": "one"}"# + "\n\n" + #"{"id": [1, {"a": null}], "text": "t\u00e9\n"}"# + "\r\n"
        + #"{"text": ""}"#
    ].map { Array($0.utf8) }
  },
  read: { bytes in
    try? TextSource.forEachDocument(in: bytes, path: "a.jsonl") { document in
      requireSame(
        firstInvalidUTF8(in: document.bytes, range: document.range), nil, "a document's text")
    }
  })

private let jsonScanner = ForeignParser(
  "json-scanner",
  seeds: {
    [#"{"a": [1, -2.5e+3, true, false, null, "x\u00e9\uD83D\uDE00\n"], "b": {}} "#]
      .map { Array($0.utf8) }
  },
  read: { bytes in
    var scanner = JSONScanner(bytes)
    if (try? scanner.skipValue()) != nil { try? scanner.finish() }
    // The parts alone, from the middle of the bytes.
    var string = JSONScanner(bytes, range: bytes.count / 2..<bytes.count)
    _ = try? string.readString()
    var integer = JSONScanner(bytes, range: bytes.count / 3..<bytes.count)
    _ = try? integer.readInteger()
  })

private let tokenizerFile = ForeignParser(
  "tokenizer",
  seeds: {
    let characters = try? Tokenizer.train(.characters, on: Array("abc \n\u{E4}".utf8))
    return [characters, smallTokenizer, .bytes].compactMap { $0?.json() }
  },
  read: { bytes in
    guard let tokenizer = try? Tokenizer.load(json: bytes) else { return }
    tryOut(tokenizer)
    let written = tokenizer.json()
    requireSame(
      (try? Tokenizer.load(json: written))?.json(), written, "a tokenizer written again")
  })

private let rankFile = ForeignParser(
  "ranks",
  seeds: {
    let bytes = (0...255).map { "\(base64(UInt8($0))) \($0)" }
    return [Array((bytes + ["dGg= 256", "dGhl 257", ""]).joined(separator: "\n").utf8)]
  },
  read: { bytes in
    for splitter in Splitter.allCases {
      guard let tokenizer = try? Tokenizer.load(ranks: bytes, splitter: splitter) else { return }
      tryOut(tokenizer)
    }
  })

/// A tokenizer that loads encodes and decodes without a trap, and without loss.
private func tryOut(_ tokenizer: Tokenizer) {
  guard let ids = try? tokenizer.encode(sample) else { return }
  requireSame(tokenizer.decode(ids), sample, "the sample from its tokens")
}

/// Base64 of one byte.
private func base64(_ byte: UInt8) -> String {
  let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
  return "\(digits[Int(byte >> 2)])\(digits[Int(byte & 3) << 4])=="
}

private func compressed(
  _ name: String, _ format: Compression, _ sample: [UInt8]
) -> ForeignParser {
  ForeignParser(
    name,
    seeds: {
      if !format.isAvailable {
        writeText("SKIPPED: no library for \(name); every input is refused\n", to: 2)
      }
      return [sample, sample + sample]
    },
    read: { bytes in
      guard let plain = try? format.decompress(bytes, byteCountMax: 4 << 20) else { return }
      precondition(plain.count <= 4 << 20, "\(plain.count) bytes are past the limit")
    })
}

/// `{"text": "gzip"}` and a line break, by Python's gzip.
private let gzipSample: [UInt8] = [
  31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 171, 86, 42, 73, 173, 40, 81, 178, 82, 80, 74, 175, 202, 44,
  80, 170, 229, 2, 0, 11, 104, 16, 9, 17, 0, 0, 0,
]

/// A frame of one raw block: magic, a size of 5, the block's header, its bytes.
private let zstdSample: [UInt8] =
  [0x28, 0xB5, 0x2F, 0xFD, 0x20, 5, 5 << 3 | 1, 0, 0] + Array("hello".utf8)
