import Foundation
import Testing

/// The rooms by floor, lowest first; the roof is the last.
private let floors: [[String]] = [
  ["PagingUnits", "Mutations"],
  ["X86Paging", "HostMemory", "MachineEvents"],
  ["PageTables", "GuestMemory", "HardwareModel", "EventSources", "Reports"],
  ["DirectMMU", "ShadowMMU", "SubpageProtection"],
  [],
  ["VirtualMachine"],
  ["SparseMemory", "GuestProcessor", "MachineChecks"],
  ["GuestRunner", "MachineSimulation"],
  ["CommandLineTool"],
]

private let everySource = Repository.sources(below: ["Sources", "Tests", "Benchmarks"])
private let roomSources = everySource.filter { $0.path.hasPrefix("Sources/") }

private func floor(of room: String) -> Int? { floors.firstIndex { $0.contains(room) } }

private func imports(of source: Repository.Source) -> [String] {
  source.lines.compactMap { line in
    let words = line.split(separator: " ").filter { $0 != "public" && $0 != "@testable" }
    guard words.count >= 2, words[0] == "import", !line.hasPrefix(" ") else { return nil }
    return String(words[1])
  }
}

@Suite("The house inspects itself")
struct TidyTests {
  @Test("the sources are found, so that the other tests look at something")
  func somethingToLookAt() {
    #expect(roomSources.count > 50)
    for room in floors.flatMap(\.self) where room != "MachineChecks" {
      #expect(roomSources.contains { $0.room == room }, "no source of \(room)")
    }
  }

  @Test("every room stands on a floor and nothing imports from its own floor or above")
  func importsPointDown() throws {
    for source in roomSources where !source.room.hasPrefix("C") || source.room == "CommandLineTool"
    {
      let home = try #require(floor(of: source.room), "\(source.room) stands on no floor")
      for name in imports(of: source) {
        guard let other = floor(of: name) else { continue }
        #expect(other < home, "\(source.path) imports \(name)")
      }
    }
  }

  @Test("floors 0 to 5 import nothing but the standard library, Synchronization and each other")
  func groundFloorsAreBare() {
    let bare = Set(floors[0...5].flatMap(\.self))
    for source in roomSources where bare.contains(source.room) {
      for name in imports(of: source) {
        #expect(bare.contains(name) || name == "Synchronization", "\(source.path) imports \(name)")
      }
    }
  }

  @Test("the stranger imports no MMU room and not even X86Paging")
  func strangerStaysStrange() {
    let allowed: Set = ["PagingUnits", "HostMemory", "MachineEvents", "Synchronization"]
    for source in roomSources where source.room == "HardwareModel" {
      for name in imports(of: source) {
        #expect(allowed.contains(name), "\(source.path) imports \(name)")
      }
    }
  }

  @Test("no file is longer than 500 lines")
  func fileLength() {
    for source in everySource {
      #expect(source.lines.count <= 501, "\(source.path) has \(source.lines.count) lines")
    }
  }

  @Test("no line is longer than 100 columns")
  func columns() {
    for source in everySource {
      for (index, line) in source.lines.enumerated() where line.count > 100 {
        Issue.record("\(source.path):\(index + 1) has \(line.count) columns")
      }
    }
  }

  @Test("nothing is left unfinished")
  func unfinishedMarks() {
    // Spelled apart, so that this file does not find itself.
    let marks = ["TO" + "DO", "FIX" + "ME", "X" + "XX", "not imple" + "mented"]
    for source in everySource {
      for (index, line) in source.lines.enumerated() {
        for mark in marks where line.contains(mark) {
          Issue.record("\(source.path):\(index + 1) says \(mark)")
        }
      }
    }
  }

  @Test("an unsafe step stands close below the fact it relies on")
  func unsafeIsArgued() {
    for source in roomSources {
      for (index, line) in source.lines.enumerated() {
        let code = line.split(separator: "//", maxSplits: 1).first.map(String.init) ?? ""
        guard code.contains("unsafe "), !code.contains("@unsafe"),
          !line.trimmingCharacters(in: .whitespaces).hasPrefix("//")
        else { continue }
        let above = source.lines[max(0, index - 25)...index]
        #expect(above.contains { $0.contains("SAFETY:") }, "\(source.path):\(index + 1)")
      }
    }
  }

  @Test("no public face asks for inlining without giving the reason")
  func inliningIsArgued() {
    for source in roomSources {
      let inlines = source.lines.contains {
        $0.contains("@inlinable") && !$0.trimmingCharacters(in: .whitespaces).hasPrefix("//")
      }
      let argues = source.lines.contains {
        $0.contains("inlinable") && $0.trimmingCharacters(in: .whitespaces).hasPrefix("//")
      }
      #expect(!inlines || argues, "\(source.path)")
    }
  }
}
