import VirtualMachine

/// All rules about entries, looked at in one scan; what explains more comes first.
struct EveryEntryInvariant: EntryInvariant {
  static let rule = "every rule about entries holds"
  private let frozen = FrozenEntries()
  private var formats = EntryFormats()
  private let links = TableLinks()
  private let roles = TableRoles()
  private let emptied = EmptiedRoots()
  private let states = EntryStates()
  private let devices = DeviceEntries()
  private let targets = LeafTargets()
  private let sizes = LeafSizes()
  private let rights = LeafRights()
  private let subpages = SubpageLeaves()
  private var statistics = LeafStatistics()
  private var conservation = TableConservation()

  init() {}

  mutating func violation(
    of seen: SeenEntry, in machine: borrowing VirtualMachine
  ) -> Violation? {
    _ = statistics.violation(of: seen, in: machine)
    _ = conservation.violation(of: seen, in: machine)
    if let violation = frozen.violation(of: seen, in: machine)
      ?? formats.violation(of: seen, in: machine) ?? links.violation(of: seen, in: machine)
      ?? roles.violation(of: seen, in: machine) ?? emptied.violation(of: seen, in: machine)
    {
      return violation
    }
    return states.violation(of: seen, in: machine) ?? devices.violation(of: seen, in: machine)
      ?? targets.violation(of: seen, in: machine) ?? sizes.violation(of: seen, in: machine)
      ?? rights.violation(of: seen, in: machine) ?? subpages.violation(of: seen, in: machine)
  }

  func conclusion(in machine: borrowing VirtualMachine) -> Violation? {
    roles.conclusion(in: machine) ?? statistics.conclusion(in: machine)
      ?? conservation.conclusion(in: machine)
  }
}
