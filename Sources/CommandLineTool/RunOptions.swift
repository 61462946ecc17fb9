import ArgumentParser
import EventSources
import GuestProcessor
import GuestRunner
import PagingUnits
import VirtualMachine

/// Which MMU runs a guest.
enum MMUChoice: String, ExpressibleByArgument, CaseIterable { case direct, shadow }

/// How shadow paging makes roots that no table of the guest's stands behind.
enum SpecialRootChoice: String, ExpressibleByArgument, CaseIterable {
  case tables
  case localPages = "local-pages"
}

/// Whose processor runs a guest.
enum VendorChoice: String, ExpressibleByArgument, CaseIterable { case intel, amd }

/// The largest page by which the host backs guest memory.
enum BackingChoice: String, ExpressibleByArgument, CaseIterable {
  case small = "4k"
  case medium = "2m"
  case large = "1g"

  var level: Level {
    switch self {
    case .small: .page4K
    case .medium: .page2M
    case .large: .page1G
    }
  }
}

/// How guest writes are logged.
enum DirtyLogChoice: String, ExpressibleByArgument, CaseIterable {
  case off
  case writeProtect = "write-protect"
  case dirtyBit = "dirty-bit"
  case pml
}

/// What a refused write does.
enum ProtectActionChoice: String, ExpressibleByArgument, CaseIterable { case report, stop }

/// What a guest runs on.
struct MachineOptions: ParsableArguments {
  @Option(help: "Two-dimensional paging, or shadow paging.")
  var mmu = MMUChoice.direct

  @Option(
    help: "How shadow paging makes roots without a table of the guest's: tables, local-pages.")
  var specialRoots = SpecialRootChoice.tables

  @Option(help: "Whose tables: Intel's EPT or AMD's NPT.")
  var vendor = VendorChoice.intel

  @Option(help: ArgumentHelp("Levels of the two-dimensional root: 4 or 5.", valueName: "n"))
  var levels = 4

  @Option(help: ArgumentHelp("Guest memory in bytes; KiB, MiB, GiB.", valueName: "size"))
  var memory = "128MiB"

  @Option(help: "Largest page by which the host backs guest memory.")
  var backing = BackingChoice.medium

  @Option(help: ArgumentHelp("MAXPHYADDR that the guest sees, 36 to 52 bits.", valueName: "n"))
  var physBits = 46

  @Option(help: "Log guest writes (only off is built yet).")
  var dirtyLog = DirtyLogChoice.off

  @Option(
    help: ArgumentHelp(
      "Refuse guest writes to these bytes, or to what the image calls so, and report each; "
        + "repeatable.", valueName: "gpa:length|symbol"))
  var `protect`: [String] = []

  @Option(
    help: "What a refused write does: report it and let it through (the default), or stop.")
  var protectAction: ProtectActionChoice?

  @Flag(name: .customLong("private"), help: "Private memory of a trust domain (not built yet).")
  var isPrivate = false

  /// Refuses what the contract names and this version does not do.
  func refuseWhatIsMissing() throws {
    if dirtyLog != .off {
      throw Failure("--dirty-log \(dirtyLog.rawValue): dirty logging is not built yet")
    }
    if isPrivate { throw Failure("--private: private memory is not built yet") }
  }

  /// Writes the options into a configuration; throws a sentence for a value out of range.
  func apply(to run: inout RunConfiguration) throws {
    try refuseWhatIsMissing()
    guard levels == 4 || levels == 5 else {
      throw Failure("--levels \(levels): 4 or 5 was expected")
    }
    guard 36...52 ~= physBits else {
      throw Failure("--phys-bits \(physBits): a number from 36 to 52 was expected")
    }
    try run.setMemory(memory)
    run.backing = backing.level
    run.rootLevel = Level(levels)
    run.mmu = mmu == .direct ? .direct : .shadow
    run.specialRoots = specialRoots == .tables ? .tables : .localPages
    // Shadow entries hold no keys (KVM offers none under shadow paging either).
    if mmu == .shadow { run.features.paging.remove(.protectionKeys) }
    run.features.vendor = vendor == .intel ? .intel : .amd
    run.features.physicalAddressBits = UInt8(physBits)
    try applyProtection(to: &run)
  }

  private func applyProtection(to run: inout RunConfiguration) throws {
    guard !`protect`.isEmpty else {
      if protectAction != nil {
        throw Failure("--protect-action: --protect was expected with it")
      }
      return
    }
    guard mmu == .direct, vendor == .intel else {
      throw Failure("--protect: --mmu direct and --vendor intel were expected with it")
    }
    run.protectAction = protectAction == .stop ? .stop : .report
    run.protected = try `protect`.map { text in
      guard let separator = text.firstIndex(of: ":") else { return .symbol(text) }
      guard let address = try? Quantity.option(String(text[..<separator])),
        let count = try? Quantity.option(String(text[text.index(after: separator)...])),
        count > 0
      else {
        throw Failure("--protect \(text): an address, a colon and a length were expected")
      }
      guard address <= .max - count else {
        throw Failure("--protect \(text): guest memory was expected there")
      }
      return .bytes(address..<address + count)
    }
  }
}
