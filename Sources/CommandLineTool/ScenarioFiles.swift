import Foundation
import MachineSimulation

/// The scenario files that arguments name: files, and folders with everything under them.
enum ScenarioFiles {
  /// The files that the arguments stand for, each folder's in the order of their names.
  static func find(_ arguments: [String]) throws -> [String] {
    var files: [String] = []
    for argument in arguments {
      var isFolder: ObjCBool = false
      // SAFETY: the flag lives as long as the call.
      guard unsafe FileManager.default.fileExists(atPath: argument, isDirectory: &isFolder) else {
        throw Failure("\(argument): a scenario file or a folder of them was expected")
      }
      files += isFolder.boolValue ? try Self.files(below: argument) : [argument]
    }
    return files
  }

  private static func files(below folder: String) throws -> [String] {
    let paths: [String]
    do {
      paths = try FileManager.default.subpathsOfDirectory(atPath: folder)
    } catch {
      throw Failure("\(folder): a folder that can be read was expected")
    }
    let prefix = folder.hasSuffix("/") ? folder : folder + "/"
    let files = paths.filter { $0.hasSuffix(".yaml") || $0.hasSuffix(".yml") }.sorted()
    guard !files.isEmpty else {
      throw Failure("\(folder): at least one file that ends in .yaml was expected")
    }
    return files.map { prefix + $0 }
  }

  /// Reads one file.
  static func read(_ file: String) throws -> Scenario {
    // A device or a pipe can have no end, so that only a bounded part is read.
    guard let handle = FileHandle(forReadingAtPath: file) else {
      throw Failure("\(file): a file that can be read was expected")
    }
    defer { try? handle.close() }
    let data: Data
    do {
      data = try handle.read(upToCount: ScenarioReader.byteLimit + 1) ?? Data()
    } catch {
      throw Failure("\(file): a file that can be read was expected")
    }
    guard let text = String(data: data, encoding: .utf8) else {
      throw Failure("\(file): UTF-8 text was expected")
    }
    do {
      return try ScenarioReader.read(text, file: file)
    } catch {
      throw Failure("\(error)")
    }
  }
}
