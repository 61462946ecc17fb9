import Foundation
import HardwareModel
import HostMemory
import PageTables
import Testing
import VirtualMachine

@testable import MachineSimulation

/// A script in Python that reads exported tables, and what it is asked.
struct ExportScript {
  let name: String

  /// What the script prints of each line that it is given, about a processor's tables in a folder.
  func answers(
    of folder: URL, _ processor: Int, to questions: some Sequence<String>
  ) throws -> [String] {
    let input = folder.appendingPathComponent("questions")
    try Data(questions.map { $0 + "\n" }.joined().utf8).write(to: input)
    let output = folder.appendingPathComponent("answers")
    try Data().write(to: output)
    let script = Bundle.module.bundleURL.appendingPathComponent("Resources/\(name)")
    let python = Process()
    python.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    python.arguments = ["python3", script.path, folder.path, "\(processor)"]
    python.standardInput = try FileHandle(forReadingFrom: input)
    python.standardOutput = try FileHandle(forWritingTo: output)
    try python.run()
    python.waitUntilExit()
    #expect(python.terminationStatus == 0)
    return try String(contentsOf: output, encoding: .utf8).split(separator: "\n").map(String.init)
  }
}

extension Stage {
  /// A processor of the stage's kind that walks for every access, and keeps nothing.
  func forgetfulProcessor() -> Processor {
    var features = ProcessorFeatures()
    features.vendor = settings.vendor == .intel ? .intel : .amd
    features.physicalBits = UInt64(settings.physicalBits)
    features.translationSets = 0
    features.keepsWalks = false
    let encryption = settings.encryptionBit.map { bit in
      MemoryEncryption(bit: bit, of: machine.process.host)
    }
    return Processor(
      memory: machine.tables.memory, features: features, encryption: encryption)
  }
}

/// Gives a folder that is there as long as the body runs.
func withFolder(_ body: (URL) throws -> Void) throws {
  let folder = FileManager.default.temporaryDirectory
    .appendingPathComponent("penumbra-export-\(UUID().uuidString)")
  defer { try? FileManager.default.removeItem(at: folder) }
  try body(folder)
}
