import ForeignBytes
import System

/// The parser that `COXSWAIN_FUZZ_TARGET` names.
private let chosen: ForeignParser = {
  let name = environmentValue("COXSWAIN_FUZZ_TARGET") ?? ""
  guard let parser = ForeignParser.named(name) else {
    let names = ForeignParser.all.map(\.name).joined(separator: ", ")
    fatalError("COXSWAIN_FUZZ_TARGET is '\(name)'; it names one of \(names)")
  }
  return parser
}()

/// What libFuzzer calls with every input.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOne(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  // SAFETY: libFuzzer lends `count` bytes for this call.
  chosen.parse(unsafe Array(UnsafeBufferPointer(start: start, count: count)))
  return 0
}
