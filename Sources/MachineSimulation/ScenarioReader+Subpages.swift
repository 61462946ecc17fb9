import PagingUnits
import SubpageProtection
import VirtualMachine
import Yams

/// Steps about sub-page protection.
extension ScenarioReader {
  /// Reads a `subpage` step: `enable: true`, `get: true`, or `access`, of `count` pages.
  ///
  /// With more pages than words, the words repeat.
  func readSubpage(_ body: Node) throws(ScenarioError) -> Operation {
    let section = try self.section(
      body, "subpage", ["enable", "gpa", "count", "access", "get", "address-space", "flags"])
    if try section.flag("enable") == true {
      for key in ["gpa", "count", "access", "get"] {
        guard let node = section.node(key) else { continue }
        throw section.problem(key, node, expected: "enable: true and nothing else")
      }
      return .subpage(SubpageStep(.enable))
    }
    let address = GuestPhysical(try section.requiredNumber("gpa"))
    let count = try section.number("count", 0...SubpageStep.countLimit)
    var step: SubpageStep
    if try section.flag("get") == true {
      if let node = section.node("access") {
        throw section.problem("access", node, expected: "get: true, or access,")
      }
      step = SubpageStep(.get(count: Int(count ?? 1)), at: address)
    } else {
      guard let words = try section.numbers("access", below: 32), !words.isEmpty || count == 0
      else {
        throw section.problem(
          "access", section.node("access"), expected: "enable: true, get: true, or access,")
      }
      let total = Int(count ?? UInt64(words.count))
      step = SubpageStep(
        .set((0..<total).map { UInt32(words[$0 % words.count]) }), at: address)
    }
    if try section.number("address-space", 0...1) == 1 { step.space = .systemManagement }
    step.flags = UInt32(try section.number("flags", 0...UInt64(UInt32.max)) ?? 0)
    return .subpage(step)
  }

  /// Reads the defects of KVM's posted series that a machine has.
  mutating func readQuirks(_ section: SectionReader) throws(ScenarioError) {
    for (word, _) in try section.words("quirks", SubpageQuirks.named.map(\.name)) ?? [] {
      for (name, quirk) in SubpageQuirks.named where name == word {
        machine.subpageQuirks.formUnion(quirk)
      }
    }
  }
}
