import PageTables
public import VirtualMachine

/// Every entry that points to a table points to one that is live, whose frame's record leads to its
/// row, and whose row names this very entry as its only parent, one level up.
///
/// Direct tables have one parent each. Reverse maps, by which a shadow table's many parents are
/// found, bring a rule of their own.
public struct TableLinks: EntryInvariant {
  /// The rule as a sentence.
  public static let rule = "a table and the entry that points to it name each other"
  /// The rule before a scan.
  public init() {}

  /// Looks at entries that point to tables.
  public func violation(
    of seen: SeenEntry, in machine: borrowing VirtualMachine
  ) -> Violation? {
    seen.entry.isPresentTable(at: seen.level) && seen.child == nil ? broken(by: seen) : nil
  }
}
