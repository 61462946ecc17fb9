import HostMemory
import PageTables
public import VirtualMachine

/// What the host counts as used, kind by kind, is what tables hold: nothing is lost, and nothing is
/// mapped twice that counts once.
///
/// The host is this machine's alone.
public enum HostAccounts {
  /// The rule as a sentence.
  public static let rule = "the host's accounts are what tables and pages take"

  /// Walks the host's own page table; the first violation, if any.
  public static func violation(in machine: borrowing VirtualMachine) -> Violation? {
    violation(in: HostScan(machine), machine)
  }

  static func violation(
    in scan: HostScan, _ machine: borrowing VirtualMachine
  ) -> Violation? {
    compare(.table, UInt64(machine.tables.arena.tableCount), machine)
      ?? compare(.hostTable, scan.tables, machine)
      ?? compare(.anonymous, scan.anonymous, machine) ?? compare(.file, scan.file, machine)
      ?? compare(.swapped, scan.swapped, machine) ?? compare(.zero, 1, machine)
  }

  private static func compare(
    _ kind: FrameKind, _ found: UInt64, _ machine: borrowing VirtualMachine
  ) -> Violation? {
    let stated = machine.process.host.frames(kind)
    return stated == found
      ? nil : Violation(rule, found: "\(stated) frames are \(kind), a scan finds \(found)")
  }
}
