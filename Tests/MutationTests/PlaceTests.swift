import Foundation
import Mutations
import Testing

/// Where bugs are put back, read from the sources: with the trait and without it.
@Suite("The places of known bugs")
struct PlaceTests {
  /// The names of the cases that a text asks for.
  private static func sites(in text: String) -> [String] {
    text.matches(of: /Mutation\.([A-Za-z0-9]+)\.isActive/).map { String($0.output.1) }
  }

  @Test("without the trait no bug is ever active, and with it none at first")
  func nothingIsActive() {
    for mutation in Mutation.allCases { #expect(!mutation.isActive, "\(mutation)") }
  }

  @Test("every bug has a place, in the file that its exhibit names")
  func everyBugHasItsPlace() throws {
    let all = try Repository.text(of: "Sources/Mutations/Mutation.swift")
      .matches(of: /\n +case ([A-Za-z0-9]+)/).map { String($0.output.1) }
    var places: [String: Set<String>] = [:]
    for file in Repository.files(below: "Sources", ending: ".swift") {
      for name in Self.sites(in: try Repository.text(of: file)) {
        places[name, default: []].insert(String(file.dropFirst("Sources/".count)))
      }
    }
    #expect(all.count > 100)
    let exhibits = try Repository.files(below: "Sources/Mutations", ending: ".swift")
      .map { try Repository.text(of: $0) }.joined()
    for name in all {
      let stated = exhibits.firstMatch(
        of: try Regex(
          "Exhibit\\(\\s+\\.\(name),[^)]*in: \"([^\"]+)\"", as: (Substring, Substring).self))
      let file = stated.map { String($0.output.1) } ?? "nowhere"
      #expect(places[name]?.contains(file) == true, "\(name) is said to be in \(file)")
    }
  }

  @Test("the stranger and the checks have no bug put into them")
  func checksStayWhole() throws {
    for room in ["HardwareModel", "MachineChecks", "MachineSimulation"] {
      for file in Repository.files(below: "Sources/\(room)", ending: ".swift") {
        #expect(Self.sites(in: try Repository.text(of: file)).isEmpty, "\(file)")
      }
    }
  }
}
