import HostMemory
public import VirtualMachine

/// The record of every page of the host process counts the entries that map it, the page cache's
/// among them, and is of the page's size; a page that is not counted is no memory of the process.
public enum HostMappings {
  /// The rule as a sentence.
  public static let rule = "a host page's record counts the entries that map it"

  /// Walks the host's own page table; the first violation, if any.
  public static func violation(in machine: borrowing VirtualMachine) -> Violation? {
    violation(in: HostScan(machine))
  }

  static func violation(in scan: HostScan) -> Violation? {
    scan.fault.map { Violation(rule, found: $0) }
  }
}
