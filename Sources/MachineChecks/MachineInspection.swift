public import VirtualMachine

/// Everything that can be checked of a machine at rest.
public enum MachineInspection {
  /// Checks every invariant and everything a processor keeps; the first violation.
  public static func violation(
    in machine: borrowing VirtualMachine, of number: Int = 0
  ) -> Violation? {
    invariant(in: machine) ?? KeptTranslations.violation(in: machine, of: number)
  }

  /// Checks every invariant; the first violation, the one that explains most.
  ///
  /// The cost goes with the tables and pages in use. The machine is at rest: no processor and no
  /// operation is between two of its steps.
  public static func invariant(in machine: borrowing VirtualMachine) -> Violation? {
    if let violation = Rest.violation(in: machine) ?? ListedTables.violation(in: machine)
      ?? TableFrames.violation(in: machine) ?? EveryEntryInvariant.violation(in: machine)
      ?? RootReferences.violation(in: machine) ?? StockedTables.violation(in: machine)
      ?? RetiredTables.violation(in: machine) ?? MemslotOrder.violation(in: machine)
      ?? HugePageCounts.violation(in: machine)
    {
      return violation
    }
    let scan = HostScan(machine)
    return HostMappings.violation(in: scan) ?? HostAccounts.violation(in: scan, machine)
      ?? FreeBlocks.violation(in: machine)
  }
}
