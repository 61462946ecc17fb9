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
    return vectorViolation(in: machine, of: number, memory)
  }

  /// No vector of sub-page permissions that is kept lets more be written than the memslot's map.
  private static func vectorViolation(
    in machine: borrowing VirtualMachine, of number: Int, _ memory: ReferenceMemory
  ) -> Violation? {
    // The defects of KVM's posted series break the rule.
    guard machine.configuration.subpageQuirks.isEmpty else { return nil }
    for index in 0..<machine.vectorCapacity(of: number) {
      guard let kept = machine.keptVector(at: index, of: number),
        kept.root == machine.rootFrame(of: number)?.address
      else { continue }
      for subpage in 0..<32 as Range<UInt64> where kept.bits >> (2 * subpage) & 1 == 1 {
        let address = kept.guestPhysical.raw + 128 * subpage
        guard memory.refusesWrite(address, 1, machine) else { continue }
        return Violation(
          "a processor keeps no permission for a sub-page that was taken away",
          found: "processor \(number) keeps \(hex(kept.bits)) for \(hex(kept.guestPhysical.raw)), "
            + "sub-page \(subpage) of which may not be written")
      }
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
