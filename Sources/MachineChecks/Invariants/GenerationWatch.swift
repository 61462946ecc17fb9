import GuestMemory
import PagingUnits
public import VirtualMachine

/// What was seen of a machine's generations, so that a later look can tell that they only grew.
///
/// The caller keeps the value between looks at the same machine.
public struct GenerationWatch: Hashable, Sendable {
  /// The rule as a sentence.
  public static let rule = "generations only grow, and no two layouts share one"
  private var slots: InlineGenerations

  private struct InlineGenerations: Hashable, Sendable {
    var normal: UInt64 = 0
    var systemManagement: UInt64 = 0
  }

  /// Starts from what the machine has now.
  public init(_ machine: borrowing VirtualMachine) { slots = Self.generations(of: machine) }

  /// Compares with what was seen last, and remembers what is seen now.
  public mutating func violation(in machine: borrowing VirtualMachine) -> Violation? {
    let now = Self.generations(of: machine)
    defer { slots = now }
    // Bit 63 marks a change in progress and is no part of the number.
    let number: UInt64 = 1 << 63 - 1
    let isGrown =
      slots.normal & number <= now.normal & number
      && slots.systemManagement & number <= now.systemManagement & number
    // Each address space has the numbers of its own remainder.
    let isApart = now.normal & 1 == 0 && now.systemManagement & 1 == 1
    return isGrown && isApart
      ? nil
      : Violation(
        Self.rule,
        found: "\(now.normal) after \(slots.normal), "
          + "\(now.systemManagement) after \(slots.systemManagement)")
  }

  private static func generations(of machine: borrowing VirtualMachine) -> InlineGenerations {
    InlineGenerations(
      normal: machine.slots.generation(of: .normal).raw,
      systemManagement: machine.slots.generation(of: .systemManagement).raw)
  }
}
