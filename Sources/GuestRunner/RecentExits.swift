public import GuestProcessor
public import PagingUnits

/// One of the last things that happened to the guest, for the report of its end.
public enum RecentExit: Hashable, Sendable {
  /// The processor left the guest for an address.
  case memory(rip: UInt64, GuestVirtual, AccessKind)
  /// An exception or interrupt was delivered.
  case delivered(rip: UInt64, GuestEvent)
  /// A port was read or written.
  case port(rip: UInt64, UInt16, PortDirection, value: UInt32)
  /// A device's address was read or written.
  case device(rip: UInt64, GuestPhysical, PortDirection, value: UInt64)
  /// A control register was written.
  case control(rip: UInt64, ControlRegisters)

  /// Which way a value went.
  public enum PortDirection: Hashable, Sendable {
    case input, output
  }
}

/// The last few exits, oldest first.
struct RecentExits {
  private static let size = 32
  private var ring: [RecentExit] = []
  private var next = 0

  mutating func add(_ exit: RecentExit) {
    if ring.count < Self.size {
      ring.append(exit)
    } else {
      ring[next] = exit
      next = (next + 1) % Self.size
    }
  }

  var inOrder: [RecentExit] { Array(ring[next...] + ring[..<next]) }
}
