import HardwareModel
public import PagingUnits
public import VirtualMachine

/// Everything that can be checked of a machine at rest.
public enum MachineInspection {
  /// Checks every invariant of the tables and everything a processor keeps; the first violation.
  public static func violation(
    in machine: borrowing VirtualMachine, of number: Int = 0
  ) -> Violation? {
    var tables = TableInvariants()
    return tables.violation(in: machine) ?? KeptTranslations.violation(in: machine, of: number)
  }

  /// Checks that an access went where the guest's tables, the memslots and the host's page table
  /// lead.
  public static func violation(
    of address: GuestVirtual, reaching place: HostPhysical, in machine: borrowing VirtualMachine,
    of number: Int = 0
  ) -> Violation? {
    let meant = ReferenceTranslation.place(of: address, machine[registersOf: number], in: machine)
    if meant == place { return nil }
    return Violation(
      "an access goes where the guest's tables, memslots and host lead",
      found: "\(hex(address.raw)) went to \(hex(place.raw)), the reference says "
        + (meant.map { hex($0.raw) } ?? "nowhere"))
  }
}
