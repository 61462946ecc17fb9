import HardwareModel
import PagingUnits
public import VirtualMachine

/// Whether a processor keeps anything that the host's decisions no longer give: its TLB, and the
/// places of guest-physical pages that it keeps between walks.
///
/// Towards the guest's own tables a TLB may be stale until the guest invalidates (`Reference`
/// judges that); towards memslots, the host's page table and the machine's own tables it never may,
/// once an operation has returned. So a skipped flush shows here without any access.
public enum KeptTranslations {
  /// Judges everything that a processor keeps; the first violation, if any.
  public static func violation(
    in machine: borrowing VirtualMachine, of number: Int
  ) -> Violation? {
    // What is asked of the processor is served before it uses anything, and a new root flushes.
    if machine.hasRequests(of: number) { return nil }
    guard let tables = SecondTables(of: number, in: machine) else { return nil }
    let memory = ReferenceMemory(machine, machine.addressSpace(of: number))
    let judge = HostwardJudge(memory: memory, tables: tables)
    for place in 0..<machine.translationCapacity(of: number) {
      guard let kept = machine.keptTranslation(in: place, of: number) else { continue }
      let step = HostwardJudge.Step(
        guest: kept.guestPhysical.raw, host: kept.hostPhysical.raw, level: kept.level,
        isWritable: kept.isWritable, isExecutable: kept.isExecutable)
      let violation = judge.violation(
        step,
        "processor \(number) keeps \(hex(kept.linear.raw)) → \(hex(kept.guestPhysical.raw)) → "
          + "\(hex(kept.hostPhysical.raw)), level \(kept.level.depth)")
      if let violation { return violation }
    }
    for index in 0..<machine.placeCapacity(of: number) {
      guard let kept = machine.keptPlace(at: index, of: number) else { continue }
      let step = HostwardJudge.Step(
        guest: kept.guestPhysical.raw, host: kept.hostPhysical.raw, level: kept.level,
        isWritable: kept.isWritable, isExecutable: kept.isExecutable)
      let violation = judge.violation(
        step,
        "processor \(number) keeps \(hex(kept.guestPhysical.raw)) → "
          + "\(hex(kept.hostPhysical.raw)) between walks, level \(kept.level.depth)")
      if let violation { return violation }
    }
    return nil
  }
}

extension Reference {
  /// Judges everything that a processor keeps: towards the host, and whether its TLB holds only
  /// what its own walks came by since the last invalidation.
  public func violation(
    inKeptOf number: Int, in machine: borrowing VirtualMachine
  ) -> Violation? {
    if let violation = KeptTranslations.violation(in: machine, of: number) { return violation }
    for place in 0..<machine.translationCapacity(of: number) {
      guard let kept = machine.keptTranslation(in: place, of: number) else { continue }
      if !remembered[number].mayKeep(
        kept.linear.raw, pcid: kept.pcid, isGlobal: kept.isGlobal, at: kept.guestPhysical.raw)
      {
        return Violation(
          "a processor keeps only what the guest's tables said since the last invalidation",
          found: "processor \(number) keeps \(hex(kept.linear.raw)) → "
            + "\(hex(kept.guestPhysical.raw)), PCID \(kept.pcid)"
            + (kept.isGlobal ? ", global" : ""))
      }
    }
    return nil
  }
}
