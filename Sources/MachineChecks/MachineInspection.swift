public import VirtualMachine

/// Everything that can be checked of a machine at rest.
public enum MachineInspection {
  /// How much of a machine is looked at.
  public enum Extent: Hashable, Sendable {
    /// Everything.
    case everything
    /// Everything but the host's own bookkeeping, whose look costs several times the rest and
    /// which nothing but the host changes.
    case machine
  }

  /// Checks every invariant and everything that processors keep; the first violation.
  ///
  /// * `number`: the processor whose translations are judged; `nil` for every processor.
  public static func violation(
    in machine: borrowing VirtualMachine, of number: Int? = nil, _ extent: Extent = .everything
  ) -> Violation? {
    if let violation = invariant(in: machine, extent) { return violation }
    // What a processor keeps under shadow paging follows from tables that come and go with it.
    if machine.configuration.mmu == .shadow { return nil }
    if let number { return KeptTranslations.violation(in: machine, of: number) }
    for processor in 0..<machine.configuration.processors {
      if let violation = KeptTranslations.violation(in: machine, of: processor) { return violation }
    }
    return nil
  }

  /// Checks every invariant; the first violation, the one that explains most.
  ///
  /// The cost goes with the tables and pages in use. The machine is at rest: no processor and no
  /// operation is between two of its steps.
  public static func invariant(
    in machine: borrowing VirtualMachine, _ extent: Extent = .everything
  ) -> Violation? {
    if machine.configuration.mmu == .shadow {
      if let violation = EncryptedMemory.violation(in: machine) { return violation }
      return ShadowTables.violation(in: machine) ?? ShadowRoots.violation(in: machine)
        ?? ShadowDerivation.violation(in: machine) ?? ShadowTranslations.violation(in: machine)
        ?? MemslotOrder.violation(in: machine)
    }
    if let violation = EncryptedMemory.violation(in: machine) { return violation }
    if let violation = Rest.violation(in: machine) ?? ListedTables.violation(in: machine)
      ?? TableFrames.violation(in: machine) ?? EveryEntryInvariant.violation(in: machine)
      ?? RootReferences.violation(in: machine) ?? StockedTables.violation(in: machine)
      ?? RetiredTables.violation(in: machine) ?? MemslotOrder.violation(in: machine)
      ?? HugePageCounts.violation(in: machine) ?? SubpageTables.violation(in: machine)
    {
      return violation
    }
    guard extent == .everything else { return nil }
    let scan = HostScan(machine)
    return HostMappings.violation(in: scan) ?? HostAccounts.violation(in: scan, machine)
      ?? FreeBlocks.violation(in: machine)
  }
}
