internal import Settings
internal import Tokenization

extension HuggingFaceExport {
  /// `tokenizer_config.json`, which makes `AutoTokenizer` take `tokenizer.json` as it stands.
  ///
  /// The class is the plain one on purpose: `GPT2Tokenizer` and its like put their own way of
  /// cutting text in the place of the file's.
  static func tokenizerConfig(_ tokenizer: Tokenizer, sequenceLength: Int) -> String {
    func name(_ token: SpecialToken) -> JSONNode {
      tokenizer.id(of: token) == nil ? JSONNode(.null) : .text(token.rawValue)
    }
    let roles: [(String, JSONNode)] = [
      ("bos_token", name(.bos)), ("eos_token", name(.eos)), ("pad_token", name(.pad)),
    ]
    return JSONNode.object(
      [("tokenizer_class", .text("PreTrainedTokenizerFast"))]
        + roles.filter { $0.1.value != .null } + [
          ("model_max_length", .integer(sequenceLength)),
          ("clean_up_tokenization_spaces", .flag(false)),
          ("add_prefix_space", .flag(false)),
        ]
    ).jsonText()
  }
}
