internal import System
internal import Testing
internal import Tokenization

/// A tokenizer of three letters and what merges make of them, as tokenizer.json of others.
private func foreign(
  tokens: [String], merges: [String], added: String = "", model: String = "",
  splitter: String = ForeignFiles.byteLevel, rest: String = ""
) -> [UInt8] {
  let bytes = (0..<256).map { ForeignFiles.spelled($0) }
  let vocabulary = (bytes + tokens).enumerated().map { id, token in
    let escaped = token.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"")
    return "\"\(escaped)\":\(id)"
  }
  return Array(
    (#"{"added_tokens":[\#(added)],"pre_tokenizer":\#(splitter),\#(rest)"model":{"#
      + #"\#(model)"vocab":{"#
      + vocabulary.joined(separator: ",") + #"},"merges":["#
      + merges.map { "\"\($0)\"" }.joined(separator: ",") + "]}}").utf8)
}

private enum ForeignFiles {
  static let byteLevel = #"{"type":"ByteLevel","add_prefix_space":false,"use_regex":true}"#

  /// The byte as the byte-level alphabet writes it, by GPT-2's rule.
  static func spelled(_ byte: Int) -> String {
    func isPrinted(_ byte: Int) -> Bool {
      33...126 ~= byte || 161...172 ~= byte || 174...255 ~= byte
    }
    let value = isPrinted(byte) ? byte : 256 + (0..<byte).count { !isPrinted($0) }
    return Unicode.Scalar(UInt32(value)).map { String($0) } ?? ""
  }
}

@Suite struct `A tokenizer of others` {
  @Test func `merges in order of rank, or takes the longest token that fits`() throws {
    // b and c merge first, so a stays alone, although "ab" is a token and the text begins with it.
    let tokenizer = try Tokenizer.load(
      json: foreign(tokens: ["bc", "ab"], merges: ["b c", "a b"]))
    #expect(try names(tokenizer, tokenizer.encode("abc")) == ["a", "bc"])
    #expect(try names(tokenizer, tokenizer.encode("abc", mode: .longest)) == ["ab", "c"])
    #expect(try names(tokenizer, tokenizer.encode("cab", mode: .longest)) == ["c", "ab"])
    for mode in EncodingMode.allCases {
      #expect(try tokenizer.decode(tokenizer.encode("ab cab, \u{E9}", mode: mode))
        == Array("ab cab, \u{E9}".utf8))
    }
  }

  @Test func `gives a pair that is listed twice its last rank, as Hugging Face does`() throws {
    let tokenizer = try Tokenizer.load(
      json: foreign(tokens: ["ab", "bc"], merges: ["a b", "b c", "a b"]))
    #expect(try names(tokenizer, tokenizer.encode("abc")) == ["a", "bc"])
  }

  @Test func `takes the longest token inside a piece alone`() throws {
    let tokenizer = try Tokenizer.load(
      json: foreign(
        tokens: ["ab", "\u{120}a", "b\u{120}"], merges: ["a b", "\u{120} a", "b \u{120}"]))
    #expect(try names(tokenizer, tokenizer.encode("ab ab", mode: .longest)) == ["ab", " a", "b"])
  }

  @Test(arguments: [false, true])
  func `takes whole pieces first where its file ignores merges`(ignores: Bool) throws {
    // "abc" is a token that no merge makes.
    let tokenizer = try Tokenizer.load(
      json: foreign(
        tokens: ["ab", "abc"], merges: ["a b"], model: #""ignore_merges":\#(ignores),"#))
    #expect(tokenizer.takesWholePiecesFirst == ignores)
    let read = try Tokenizer.load(json: tokenizer.json())
    for each in [tokenizer, read] {
      #expect(try names(each, each.encode("abc")) == (ignores ? ["abc"] : ["ab", "c"]))
      #expect(try names(each, each.encode("abcc")) == ["ab", "c", "c"])
    }
  }

  @Test func `keeps ids that are not in a row, and never makes special tokens of text`() throws {
    let tokenizer = try Tokenizer.load(
      json: foreign(
        tokens: ["ab"], merges: ["a b"],
        added: #"{"id":300,"content":"<|end|>","special":true},"#
          + #"{"id":290,"content":"ab","special":true}"#))
    #expect(tokenizer.vocabularySize == 301)
    #expect(tokenizer.specials == [.init(id: 290, name: "ab"), .init(id: 300, name: "<|end|>")])
    let read = try Tokenizer.load(json: tokenizer.json())
    #expect(read.digest == tokenizer.digest)
    for text in ["<|end|>", "ab<|end|>ab"] {
      let ids = try read.encode(text)
      #expect(ids.allSatisfy { $0 <= 256 })
      #expect(read.decode(ids) == Array(text.utf8))
    }
    #expect(read.decode([300, 270, 256, 290]) == Array("ab".utf8))
    #expect(read.name(of: 300) == Array("<|end|>".utf8))
  }

  @Test func `is read with its pattern in any of the known spellings`() throws {
    let isolated = #""behavior":"Isolated","invert":false"#
    func split(_ pattern: String, _ form: String) -> String {
      let escaped = pattern.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"")
      return #"{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":""#
        + escaped + #""},\#(form)},{"type":"ByteLevel","use_regex":false}]}"#
    }
    for splitter in Splitter.allCases {
      let file = foreign(
        tokens: ["ab"], merges: ["a b"], splitter: split(splitter.pattern, isolated))
      #expect(try Tokenizer.load(json: file).splitter == splitter)
    }
    let removed = #""behavior":"Removed","invert":true"#
    for pattern in [
      #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#,
      #"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"#,
    ] {
      let file = foreign(tokens: ["ab"], merges: ["a b"], splitter: split(pattern, removed))
      #expect(try Tokenizer.load(json: file).splitter == .gpt2)
    }
    // To Oniguruma, {1,3}+ is a run of any length: not what tiktoken's cl100k does.
    let tiktoken = Splitter.cl100k.pattern.replacing("{1,3}", with: "{1,3}+")
    let refused = [
      (tiktoken, isolated),
      (Splitter.gpt2.pattern, #""behavior":"Removed","invert":false"#),
      (Splitter.gpt2.pattern, #""behavior":"MergedWithNext","invert":false"#),
      (Splitter.gpt2.pattern, #""behavior":"Isolated","invert":true"#),
    ]
    for (pattern, form) in refused {
      let file = foreign(tokens: ["ab"], merges: ["a b"], splitter: split(pattern, form))
      #expect(unsupported(file)?.key == "pre_tokenizer")
    }
  }

  @Test(arguments: [
    (#"{"model":{"type":"Unigram","vocab":[["a",-1.5]]}}"#, "model.type", "Unigram"),
    (#"{"model":{"type":"WordPiece","vocab":{"a":0}},"normalizer":{"type":"Bert"}}"#,
      "model.type", "WordPiece"),
  ])
  func `of another model is refused by name`(file: String, key: String, name: String) {
    let found = unsupported(Array(file.utf8))
    #expect(found?.key == key)
    #expect(found?.found.contains(name) == true)
  }

  @Test func `with a part that this program does not have is refused by name`() {
    func expect(_ key: String, _ name: String, _ file: [UInt8]) {
      let found = unsupported(file)
      #expect(found?.key == key, "\(name)")
      #expect(found?.found.contains(name) == true, "\(key): \(found?.found ?? "accepted")")
    }
    func file(
      added: String = "", model: String = "", splitter: String = ForeignFiles.byteLevel,
      rest: String = ""
    ) -> [UInt8] {
      foreign(
        tokens: ["ab"], merges: ["a b"], added: added, model: model, splitter: splitter, rest: rest)
    }
    #expect(unsupported(file()) == nil)
    expect("normalizer", "NFC", file(rest: #""normalizer":{"type":"NFC"},"#))
    expect("added_tokens", "<tool>", file(added: #"{"id":300,"content":"<tool>","special":false}"#))
    expect("model.dropout", "value", file(model: #""dropout":0.1,"#))
    expect("model.end_of_word_suffix", "value", file(model: #""end_of_word_suffix":"</w>","#))
    expect("model.byte_fallback", "value", file(model: #""byte_fallback":true,"#))
    expect("pre_tokenizer", "null", file(splitter: "null"))
    expect("pre_tokenizer", "Metaspace", file(splitter: #"{"type":"Metaspace"}"#))
    expect(
      "pre_tokenizer", "prefix", file(splitter: #"{"type":"ByteLevel","add_prefix_space":true}"#))
    expect(
      "pre_tokenizer", "Digits",
      file(
        splitter: #"{"type":"Sequence","pretokenizers":[{"type":"Digits"},"#
          + ForeignFiles.byteLevel + "]}"))
    expect(
      "pre_tokenizer", "after",
      file(splitter: #"{"type":"Sequence","pretokenizers":["# + ForeignFiles.byteLevel
        + #",{"type":"Split","pattern":{"Regex":"a"},"behavior":"Isolated"}]}"#))
    expect(
      "pre_tokenizer", "[a-z]+",
      file(splitter: #"{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"#
        + #""[a-z]+"},"behavior":"Isolated"},{"type":"ByteLevel","use_regex":false}]}"#))
  }

  @Test func `with damaged ids is refused`() {
    for added in [
      #"{"id":97,"content":"x","special":true}"#, #"{"id":4194304,"content":"x","special":true}"#,
      #"{"id":-1,"content":"x","special":true}"#,
      #"{"id":300,"content":"x","special":true},{"id":300,"content":"y","special":true}"#,
    ] {
      #expect(throws: TokenizerError.self) {
        try Tokenizer.load(json: foreign(tokens: [], merges: [], added: added))
      }
    }
  }

  private func unsupported(_ file: [UInt8]) -> (key: String, found: String)? {
    do {
      _ = try Tokenizer.load(json: file)
      return nil
    } catch {
      guard case .unsupported(let key, let found, _) = error else { return ("\(error)", "") }
      return (key, found)
    }
  }

  private func names(_ tokenizer: Tokenizer, _ ids: [UInt32]) -> [String] {
    ids.map { String(decoding: tokenizer.name(of: $0), as: UTF8.self) }
  }
}

@Suite struct `A file of ranks` {
  /// The single bytes, then `tokens`, as base64 and ranks from `first` on.
  private func ranks(_ tokens: [String], gap: Int = 0) -> [UInt8] {
    let all = (0..<256).map { [UInt8($0)] } + tokens.map { Array($0.utf8) }
    let lines = all.enumerated().map { index, bytes in
      "\(base64(bytes)) \(index < 256 ? index : index + gap)"
    }
    return Array((lines.joined(separator: "\n") + "\n").utf8)
  }

  private func base64(_ bytes: [UInt8]) -> String {
    let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
    var text = ""
    for start in stride(from: 0, to: bytes.count, by: 3) {
      let group = bytes[start..<min(start + 3, bytes.count)]
      let bits = group.reduce(0) { $0 << 8 | Int($1) } << (8 * (3 - group.count))
      for place in 0..<4 {
        text += place <= group.count ? String(digits[bits >> (18 - 6 * place) & 63]) : "="
      }
    }
    return text
  }

  @Test func `gives one merge per token and keeps the ranks as ids`() throws {
    let tokenizer = try Tokenizer.load(
      ranks: ranks(["aa", "aaa", "aaaa"], gap: 10), splitter: .gpt2)
    #expect(tokenizer.mergeTexts == ["a a", "aa a", "aa aa"])
    #expect(!tokenizer.takesWholePiecesFirst)
    // Five letters: aa aa a, and "aaaa" is of higher rank than "aaa": aa aaa.
    #expect(try tokenizer.encode("aaaaa") == [266, 267])
    #expect(try tokenizer.encode("aaaa") == [268])
  }

  @Test func `takes a token that merges do not make from whole pieces alone`() throws {
    let tokenizer = try Tokenizer.load(ranks: ranks(["xyz"]), splitter: .gpt2)
    #expect(tokenizer.takesWholePiecesFirst)
    #expect(try tokenizer.encode("xyz xyz") == [256, 32, 120, 121, 122])
  }

  @Test func `is known by OpenAI's name for it, compressed or not`() {
    for name in ["r50k_base.tiktoken", "p50k_base.tiktoken.gz"] {
      let known = KnownRankFile(fileName: name)
      #expect(known?.splitter == .gpt2)
      #expect(known?.specials == [.init(id: 50256, name: "<|endoftext|>")])
    }
    #expect(KnownRankFile(fileName: "mine.tiktoken")?.splitter == nil)
  }

  @Test func `is refused where a line is damaged`() {
    for text in [
      "YQ== 0\nYg==", "YQ== x", "!! 0", "YQ== 0\nYQ== 1", "YQ== 0\nYg== 0", "YQ== 4194304",
      "YQ== -1", "", "YQ== 0",
    ] {
      #expect(throws: TokenizerError.self, "\(text)") {
        try Tokenizer.load(ranks: Array(text.utf8), splitter: .gpt2)
      }
    }
  }
}
