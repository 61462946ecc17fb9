import PageTables
public import VirtualMachine

/// No entry of a live table is frozen while nothing happens: whoever froze it has finished.
public struct FrozenEntries: EntryInvariant {
  /// The rule as a sentence.
  public static let rule = "no entry is frozen at rest"
  /// The rule before a scan.
  public init() {}

  /// Looks at an entry.
  public func violation(
    of seen: SeenEntry, in machine: borrowing VirtualMachine
  ) -> Violation? { seen.entry.isFrozen ? broken(by: seen) : nil }
}
