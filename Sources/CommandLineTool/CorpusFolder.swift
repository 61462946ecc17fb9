import Foundation
import MachineSimulation

/// A folder of scenario files that a fuzzing session starts from and adds to.
struct CorpusFolder {
  private let path: String

  /// A folder; it is made when it is not there.
  init(_ path: String) throws {
    self.path = path
    do {
      try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    } catch {
      throw Failure("--corpus \(path): a folder, or a name for one, was expected")
    }
  }

  /// The scenarios of the folder, in the order of their names.
  func read() throws -> [Scenario] {
    let names: [String]
    do {
      names = try FileManager.default.contentsOfDirectory(atPath: path)
    } catch {
      throw Failure("--corpus \(path): a folder that can be read was expected")
    }
    return try names.filter { $0.hasSuffix(".yaml") }.sorted().map { name in
      try ScenarioFiles.read("\(path)/\(name)")
    }
  }

  /// Keeps a scenario that reached something new.
  func add(_ scenario: Scenario, seed: UInt64) throws {
    try ScenarioFiles.write(
      ScenarioWriter.text(of: scenario), to: "\(path)/\(seed).yaml", for: "--corpus")
  }
}
