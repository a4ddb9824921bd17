import ForeignBytes
import Glibc
import System

/// What libFuzzer calls first: with `COXSWAIN_FUZZ_SEEDS=FOLDER` every parser's seeds are written,
/// each into a folder of the parser's name, and that is all.
@_cdecl("LLVMFuzzerInitialize")
public func fuzzInitialize(
  _ count: UnsafeMutablePointer<CInt>?,
  _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>?
) -> CInt {
  guard let folder = environmentValue("COXSWAIN_FUZZ_SEEDS") else { return 0 }
  do {
    for parser in ForeignParser.all {
      try Files.createDirectory("\(folder)/\(parser.name)")
      for (index, seed) in parser.seeds.enumerated() {
        try Files.write(seed, to: "\(folder)/\(parser.name)/seed-\(index)")
      }
    }
  } catch {
    writeText("the seeds cannot be written: \(error)\n", to: 2)
    exit(74)
  }
  exit(0)
}
