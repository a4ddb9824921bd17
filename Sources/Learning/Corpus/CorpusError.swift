public import System
public import Tokenization

/// What can be wrong with a text source or with the shards made of it.
public enum CorpusError: Error, Equatable, Sendable {
  case missing(path: String)
  /// The folder has no file that could be read as text, or as examples.
  case noTextFiles(path: String)
  /// The folder has no file of tokens.
  case noTokenFiles(path: String)
  /// The source holds no text at all.
  case emptySource(path: String)
  /// The text (after decompression) is not UTF-8 from this byte on.
  case invalidUTF8(path: String, byteOffset: Int)
  /// A line of a .jsonl file is not a JSON object.
  case malformedLine(path: String, line: Int, byteOffset: Int, problem: String)
  /// A line of a .jsonl file has no string under "text".
  case lineWithoutText(path: String, line: Int)
  /// A row of a file of examples is none, or not one for this phase; `place` names file and line.
  case badRow(place: String, reason: String)
  /// No row of the source can be used.
  case noExamples(path: String, passedOver: RowsPassedOver)
  /// The split leaves no row on one of its sides.
  case emptySide(path: String, rowCount: Int, isTraining: Bool)
  /// The tokenizer lacks a token that conversations need.
  case noChatTokens(missing: String)
  case compression(path: String, CompressionError)
  /// The tokenizer cannot encode the text.
  case tokenizer(path: String, TokenizerError)
  /// A tokenizer file that does not say how text is cut.
  case unknownSplitter(path: String)
  /// The text is another one than the tokens must come from; both as SHA-256 in hex.
  case changedText(path: String, found: String, expected: String)
  /// Too little text to train on.
  case tooFewTokens(path: String, found: Int, needed: Int)
  /// The split leaves nothing of a mixture's source for validation.
  case nothingHeldBack(path: String)
  /// A file of tokens is not what its header says.
  case damagedShard(path: String, problem: String)
  /// The folder has tokens of more than one text.
  case severalTexts(path: String)
  /// A run's plan.resolved.json is not a plan.
  case badPlan(message: String)
  case noPhase(name: String, found: [String])
  /// The phase has no step of this number, counted from 1.
  case noStep(Int, phase: String, count: Int)
  case system(SystemError)
}

extension CorpusError {
  /// The source that it is about as a whole; nil for one that is in a file or row, or in none.
  public var source: String? {
    switch self {
    case .missing(let path), .noTextFiles(let path), .emptySource(let path),
      .tooFewTokens(let path, _, _), .nothingHeldBack(let path), .changedText(let path, _, _):
      path
    default: nil
    }
  }
}

extension CorpusError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .missing(let path):
      "there is no file or folder \(path); check --data or the plan's \"data\""
    case .noTextFiles(let path):
      "\(path) has no text: it needs files ending in .txt or .jsonl, or these with .gz or .zst; "
        + "for examples, in .jsonl or .json"
    case .noTokenFiles(let path):
      "\(path) has no .tokens file; a run makes them, or `cox data prepare`"
    case .emptySource(let path):
      "\(path) holds no text"
    case .invalidUTF8(let path, let offset):
      "\(path) is not UTF-8 at byte \(offset) of the text; convert it first (iconv -t UTF-8)"
    case .malformedLine(let path, let line, let offset, let problem):
      "\(path), line \(line), byte \(offset) of the line: the line \(problem); "
        + "every line must be a JSON object"
    case .lineWithoutText(let path, let line):
      "\(path), line \(line): the object has no string \"text\""
    case .badRow(let place, let reason):
      "\(place): \(reason)"
    case .noExamples(let path, let passedOver):
      "\(path) has no example that can be used: \(passedOver)"
    case .emptySide(let path, let count, let isTraining):
      "of the \(count) examples of \(path) the split leaves none "
        + (isTraining ? "to train on" : "for validation") + "; give more, or another data.split"
    case .noChatTokens(let missing):
      "the tokenizer has no \(missing), which conversations need; use one that was trained here, "
        + "or one that has it"
    case .compression(let path, let error):
      "\(path): \(error)"
    case .tokenizer(let path, let error):
      "\(path): \(error)"
    case .unknownSplitter(let path):
      "\(path) does not say how text is cut before merging; name it: --splitter "
        + Splitter.allCases.map(\.rawValue).joined(separator: "|")
    case .changedText(let path, let found, let expected):
      "\(path) is not the text that the run was started with: SHA-256 \(found.prefix(12)) instead "
        + "of \(expected.prefix(12)); put the old text back, or use another --run folder"
    case .tooFewTokens(let path, let found, let needed):
      "\(path) gives \(found) tokens to train on, one window needs \(needed); "
        + "give more text or a smaller model.context"
    case .nothingHeldBack(let path):
      "the split holds nothing of \(path) back, and validation reads every source of a mixture; "
        + "give more text, or another data.split"
    case .damagedShard(let path, let problem):
      "\(path) \(problem); remove it and run again, it is made from the source"
    case .severalTexts(let path):
      "\(path) has tokens of more than one text: the source changed under the run. Which of them "
        + "a step read is not recorded; move the others away"
    case .badPlan(let message):
      message
    case .noPhase(let name, let found):
      "the run has no phase \(name); it has \(found.joined(separator: ", "))"
    case .noStep(let step, let phase, let count):
      "phase \(phase) has no step \(step): its steps are counted from 1 to \(count)"
    case .system(let error):
      error.description
    }
  }
}

/// What happened while a corpus was made, for the log.
public enum CorpusEvent: Equatable, Sendable {
  /// Tokens made earlier were verified and are used.
  case reused(directory: String, tokenCount: Int)
  /// Tokens made earlier cannot be used and are made again.
  case rebuilding(path: String, problem: String)
  /// A file of the folder does not have a name that ends in one of these.
  case skippedFile(path: String, endings: [String])
  /// Tokens were made.
  case built(directory: String, tokenCount: Int, documentCount: Int)
  /// Rows of examples that cannot be used were passed over.
  case passedOver(path: String, RowsPassedOver)
  /// Examples were encoded.
  case encoded(path: String, trainingCount: Int, heldBackCount: Int)
}

extension CorpusEvent: CustomStringConvertible {
  public var description: String {
    switch self {
    case .reused(let directory, let count):
      "data: \(count) training tokens in \(directory) verified and used again"
    case .rebuilding(let path, let problem):
      "data: \(path) \(problem); made again from the source"
    case .skippedFile(let path, let endings):
      "data: \(path) skipped, its name ends in none of \(endings.joined(separator: ", "))"
    case .built(let directory, let tokens, let documents):
      "data: \(tokens) training tokens of \(documents) documents written to \(directory)"
    case .passedOver(let path, let rows):
      "data: \(path): \(rows)"
    case .encoded(let path, let training, let heldBack):
      "data: \(training) examples of \(path) to train on, \(heldBack) for validation"
    }
  }
}
