import PagingUnits
import X86Paging

/// The first case of a format on which the MMU's walk and the hardware model differ.
public struct Disagreement: Sendable {
  /// Which format.
  public let format: VerificationFormat
  /// Which part of the format's space.
  public let sweep: String
  /// The rule that decides the case.
  public let rule: RuleCase
  /// The number of the setting and of the case under it, by which it can be found again.
  public let place: (setting: UInt64, instance: UInt64)
  /// The case and both answers, a line for each fact.
  public let explanation: [String]

  init(
    _ sweep: VerificationSweep, _ setting: VerificationSetting, _ one: VerificationCase,
    place: (setting: UInt64, instance: UInt64), mmu: VerificationAnswer,
    hardware: VerificationAnswer
  ) {
    format = sweep.format
    self.sweep = sweep.name
    self.place = place
    rule = RuleCase(setting, one, mmu, hardware)
    var lines = ["access: \(Self.describe(one, setting)) at \(hex(setting.address))"]
    lines.append("control: \(Self.describe(setting))")
    for depth in stride(from: setting.rootDepth, through: 1, by: -1) {
      lines.append("level \(depth) entry: \(hex(one.entries[depth - 1]))")
    }
    lines.append("MMU: \(Self.describe(mmu))")
    lines.append("hardware model: \(Self.describe(hardware))")
    for depth in stride(from: setting.rootDepth, through: 1, by: -1) {
      let ours = mmu.entries[depth - 1]
      let theirs = hardware.entries[depth - 1]
      guard ours != theirs else { continue }
      lines.append("level \(depth) entry after: MMU \(hex(ours)), hardware model \(hex(theirs))")
    }
    explanation = lines
  }

  init(
    _ format: VerificationFormat, _ sweep: String, _ rule: RuleCase,
    place: (setting: UInt64, instance: UInt64), _ explanation: [String]
  ) {
    self.format = format
    self.sweep = sweep
    self.rule = rule
    self.place = place
    self.explanation = explanation
  }

  private static func describe(
    _ one: VerificationCase, _ setting: VerificationSetting
  ) -> String {
    guard !setting.format.isSecondDimension else { return "\(one.kind)" }
    let who =
      switch one.privilege {
      case .user: "user"
      case .supervisor: "supervisor"
      case .implicitSupervisor: "implicit supervisor"
      }
    return "\(who) \(one.kind), PKRU \(hex(UInt64(one.pkru)))"
  }

  private static func describe(_ setting: VerificationSetting) -> String {
    let features = setting.features
    var words = ["MAXPHYADDR \(features.physicalBits)", "\(features.vendor)"]
    if setting.format == .ept {
      words.append("EPTP \(hex(setting.secondRoot))")
      words.append(features.hasExecuteOnly ? "execute-only supported" : "no execute-only")
      return words.joined(separator: ", ")
    }
    if !features.hasGigabytePages { words.append("no 1 GiB pages") }
    let registers = setting.registers
    func name(_ text: String, _ field: Field, _ word: UInt64) {
      if field.isSet(in: word) { words.append(text) }
    }
    name("WP", CR0Layout.writeProtect, registers.cr0)
    name("PSE", CR4Layout.pageSizeExtensions, registers.cr4)
    name("SMEP", CR4Layout.executionPrevention, registers.cr4)
    name("SMAP", CR4Layout.accessPrevention, registers.cr4)
    name("PKE", CR4Layout.protectionKeys, registers.cr4)
    name("NXE", EFERLayout.noExecute, registers.efer)
    if registers.ac { words.append("AC") }
    return words.joined(separator: ", ")
  }

  private static func describe(_ answer: VerificationAnswer) -> String {
    switch answer.ending {
    case .translated:
      let names = ["read", "write", "fetch"]
      let usable = names.indices.filter { answer.usable & 1 << $0 != 0 }.map { names[$0] }
      let list = usable.isEmpty ? "nothing" : usable.joined(separator: ", ")
      let global = answer.isGlobal ? ", global" : ""
      return "translated to \(hex(answer.address)), permits \(list)\(global)"
    case .fault(let code): return "page fault, error code \(hex(UInt64(code)))"
    case .nonCanonical: return "not canonical"
    case .violation(let word): return "EPT violation, qualification bits 5:0 \(hex(word))"
    case .misconfiguration: return "EPT misconfiguration"
    case .other: return "something no case may come to"
    }
  }
}

/// A number in hexadecimal, as the reports write it.
func hex(_ word: UInt64) -> String { "0x" + String(word, radix: 16) }
