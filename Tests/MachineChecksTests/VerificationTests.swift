import MachineChecks
import Testing

@Suite("The MMU's rules and the hardware model's")
struct VerificationTests {
  /// A thin slice of a space, spread evenly: seconds in a debug build.
  private func slice(breaking rule: BrokenRule? = nil) -> Verification {
    var verification = Verification()
    verification.extent = .about(30_000)
    verification.brokenRule = rule
    return verification
  }

  @Test("both walks agree on a slice of every format", arguments: VerificationFormat.allCases)
  func agree(format: VerificationFormat) {
    let report = slice().run(format)
    #expect(report.cases > 10_000)
    if let disagreement = report.disagreement {
      Issue.record("\(disagreement.rule.rawValue): \(disagreement.explanation)")
    }
  }

  /// The names under which a spoilt rule may show.
  private func names(_ rule: BrokenRule) -> Set<RuleCase> {
    switch rule {
    case .writeProtect: [.writeProtect, .writeProtectUpper]
    case .writeAccumulation: [.writeAccumulation, .writeProtectUpper]
    // A leaf that may be read, below an entry that may not.
    case .subpageUpperRights: [.subpageUpperRights, .subpageUnreadable]
    default: [name(rule)]
    }
  }

  /// The name under which a spoilt rule shows first of all.
  private func name(_ rule: BrokenRule) -> RuleCase {
    switch rule {
    case .writeProtect: .writeProtect
    case .noExecute: .noExecute
    case .executionPrevention: .executionPrevention
    case .accessPrevention: .accessPrevention
    case .implicitExemption: .alignmentCheck
    case .keyAccess: .keyAccess
    case .keyWrite: .keyWrite
    case .reservedAddress: .reservedAddress
    case .reservedNoExecute: .reservedNoExecute
    case .reservedPageSize: .reservedPageSize
    case .reservedLargePage: .reservedLargePage
    case .userAccumulation: .userAccumulation
    case .writeAccumulation: .writeAccumulation
    case .highFrame: .highFrame
    case .eptWriteOnly: .eptWriteOnly
    case .eptExecuteOnly: .eptExecuteOnly
    case .eptMemoryType: .eptMemoryType
    case .dirty: .dirty
    case .accessed: .accessed
    case .fetchReport: .fetchReport
    case .canonical: .canonical
    case .subpageOdd: .subpageOdd
    case .subpageReservedLow, .subpageReservedAddress, .subpageReservedHigh: .subpageReserved
    case .subpageValid: .subpageValid
    case .subpageVector: .subpageVector
    case .subpageCrossing: .subpageCrossing
    case .subpageLeaf: .subpageLeaf
    case .subpageLargeLeaf: .subpageLargeLeaf
    case .subpageUnreadable: .subpageUnreadable
    case .subpageUpperRights: .subpageUpperRights
    case .subpageGuestTables: .subpageGuestTables
    case .subpageWithoutLinear: .subpageWithoutLinear
    case .subpageControl: .subpageControl
    case .subpageIndex: .subpageIndex
    case .subpageDirty: .dirty
    }
  }

  @Test(
    "a spoilt rule shows in each format that has it, under its own name",
    arguments: BrokenRule.allCases)
  func broken(rule: BrokenRule) throws {
    #expect(!rule.formats.isEmpty)
    for format in rule.formats {
      let found = try #require(
        slice(breaking: rule).run(format).disagreement, "\(rule) goes unnoticed in \(format)")
      #expect(names(rule).contains(found.rule), "\(format): \(found.explanation)")
    }
  }

  @Test("a rule that a format does not have changes nothing there")
  func foreignRule() {
    #expect(slice(breaking: .eptMemoryType).run(.fourLevel).disagreement == nil)
    #expect(slice(breaking: .highFrame).run(.pae).disagreement == nil)
  }

  @Test("the first disagreement is the same for one thread and for two")
  func deterministic() {
    var alone = slice(breaking: .keyWrite)
    alone.threads = 1
    let first = alone.run(.fourLevel).disagreement
    let second = slice(breaking: .keyWrite).run(.fourLevel).disagreement
    #expect(first?.place.setting == second?.place.setting)
    #expect(first?.place.instance == second?.place.instance)
    #expect(first?.explanation == second?.explanation)
  }
}
