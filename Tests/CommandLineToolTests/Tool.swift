import Foundation

/// The built command, run as a person would.
enum Tool {
  /// What a run left behind.
  struct Result {
    let status: Int32
    let output: String
    let errors: String

    /// The lines of standard output.
    var lines: [Substring] { output.split(separator: "\n") }
  }

  /// The folder that the products are built into: where the tests' own bundles lie.
  private static var products: URL { Bundle.module.bundleURL.deletingLastPathComponent() }

  /// Runs `penumbra` with `arguments` and `input`; a status above 128 is a signal.
  static func run(_ arguments: [String], input: String = "") throws -> Result {
    let folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("penumbra-tests-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    // Files instead of pipes: nothing waits for anything, however much is written.
    let names = ["input", "output", "errors"].map { folder.appendingPathComponent($0) }
    try Data(input.utf8).write(to: names[0])
    for name in names.dropFirst() { try Data().write(to: name) }
    let process = Process()
    process.executableURL = products.appendingPathComponent("penumbra")
    process.arguments = arguments
    process.standardInput = try FileHandle(forReadingFrom: names[0])
    process.standardOutput = try FileHandle(forWritingTo: names[1])
    process.standardError = try FileHandle(forWritingTo: names[2])
    try process.run()
    process.waitUntilExit()
    let signal: Int32 = process.terminationReason == .uncaughtSignal ? 128 : 0
    return Result(
      status: process.terminationStatus + signal,
      output: try String(contentsOf: names[1], encoding: .utf8),
      errors: try String(contentsOf: names[2], encoding: .utf8))
  }

  /// Runs `body` with the name of a file that holds `bytes`.
  static func withFile<Result>(
    _ bytes: [UInt8], _ body: (String) throws -> Result
  ) throws -> Result {
    let file = FileManager.default.temporaryDirectory
      .appendingPathComponent("penumbra-image-\(UUID().uuidString)")
    try Data(bytes).write(to: file)
    defer { try? FileManager.default.removeItem(at: file) }
    return try body(file.path)
  }

  /// The name of a file among the tests' own.
  static func resource(_ name: String) -> String {
    Bundle.module.bundleURL.appendingPathComponent("Resources/\(name)").path
  }

  /// The core of a real Linux guest, reduced to its page tables.
  static var linuxCore: String { resource("linux-6.1-page-tables.core") }
}

/// Numbers that look random and are the same every time (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var word = state
    word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
    word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
    return word ^ (word >> 31)
  }
}
