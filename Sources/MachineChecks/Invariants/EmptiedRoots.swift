import PageTables
public import VirtualMachine

/// A root that was invalidated was emptied by the operation that did it: only a processor's
/// reference keeps it, and nothing can be reached through it.
public struct EmptiedRoots: EntryInvariant {
  /// The rule as a sentence.
  public static let rule = "an invalidated root maps nothing at rest"
  /// The rule before a scan.
  public init() {}

  /// Looks at an entry.
  public func violation(
    of seen: SeenEntry, in machine: borrowing VirtualMachine
  ) -> Violation? { seen.root.role.isInvalid ? broken(by: seen) : nil }
}
