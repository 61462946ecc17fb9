public import PagingUnits

/// What a page of the guest's linear address space may be used for until the next flush.
public struct PageGrant: OptionSet, Hashable, Sendable {
  /// The bits: 1 read, 2 write, 4 execute.
  public let rawValue: UInt8
  /// Wraps the bits.
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// Data may be read.
  public static let read = PageGrant(rawValue: 1)
  /// Data may be written; granted only when the dirty bits are set already.
  public static let write = PageGrant(rawValue: 2)
  /// Instructions may be fetched.
  public static let execute = PageGrant(rawValue: 4)

  /// What an access of a kind needs.
  public init(_ kind: AccessKind) {
    switch kind {
    case .read: self = .read
    case .write: self = .write
    case .fetch: self = .execute
    }
  }
}

/// A question that the processor cannot answer from its own TLB.
public struct FillRequest: Hashable, Sendable {
  /// The first byte of the linear page; for the processor's own accesses to the descriptor tables,
  /// the task segment and stacks, the exact address.
  public var address: GuestVirtual
  /// What the access does.
  public var kind: AccessKind
  /// On whose behalf it is made.
  public var privilege: Privilege
  /// Whether EFLAGS.AC is set, which exempts explicit supervisor accesses from SMAP.
  public var alignmentCheck: Bool

  /// A question about one access.
  public init(
    address: GuestVirtual, kind: AccessKind, privilege: Privilege, alignmentCheck: Bool
  ) {
    self.address = address
    self.kind = kind
    self.privilege = privilege
    self.alignmentCheck = alignmentCheck
  }
}

/// Bytes that are about to be stored, as the engine announces them.
public struct GuestStore: Hashable, Sendable {
  /// Where the first goes in host memory: the engine tells no linear address.
  public var place: HostPhysical
  /// How many, 1…8; some may go to the linear page behind.
  public var byteCount: Int
  /// The bytes, the first one lowest.
  public var value: UInt64
  /// On whose behalf they are stored.
  public var privilege: Privilege

  /// The bytes one by one.
  public var bytes: [UInt8] {
    (0..<byteCount).map { UInt8(truncatingIfNeeded: value >> UInt64(8 * $0)) }
  }
}

/// What became of a `FillRequest`.
public enum FillAnswer: Hashable, Sendable {
  /// The page lies in this host frame; the grant holds at least what was asked, and nothing that
  /// the tables do not allow without another walk.
  case filled(HostFrame, PageGrant)
  /// The page lies in this host frame, and this one access is let through; it is asked again.
  case filledOnce(HostFrame)
  /// A device lies there: no memory slot has the page.
  case device(GuestFrame)
  /// The guest gets a page fault with this error code.
  case pageFault(errorCode: UInt32)
  /// The run ends; whoever answers knows why.
  case stop
}

/// What becomes of a write to a control register.
public enum ControlVerdict: Hashable, Sendable {
  /// The new state holds.
  case accepted
  /// The guest gets #GP(0), and nothing changed.
  case generalProtection
  /// The run ends.
  case stop
}

/// The kinds of INVPCID (SDM volume 2A, "INVPCID").
public enum InvalidationScope: UInt8, Hashable, Sendable {
  /// One address in one address space.
  case address = 0
  /// One address space, globals kept.
  case addressSpace
  /// Everything, globals too.
  case everything
  /// All address spaces, globals kept.
  case everythingButGlobal
}

/// The world outside the processor: memory, devices, interrupts.
///
/// An abstract class: one virtual call is the cheapest boundary that other floors can implement.
/// `Processor` holds it for its life. Every method is called on the thread that runs the processor,
/// some of them in the middle of an instruction; they may call `flushTranslations` and
/// `requestStop` of the processor and nothing else of it.
open class GuestPort {
  /// A port that must be subclassed.
  public init() {}

  /// Translates one page for one kind of access; the whole trip, guest tables and ours.
  open func fill(_ request: FillRequest) -> FillAnswer {
    fatalError("a port translates")
  }

  /// Whether the port wants to know of each store before it happens, which makes every store
  /// slower; asked once.
  open var watchesStores: Bool { false }

  /// A store to a page that was filled is about to happen.
  ///
  /// A store over two pages is announced once, at its first byte; one of 16 bytes as two of 8.
  open func willStore(_ store: GuestStore) {}

  /// Whether the instruction that was let through is to be taken back, and the run to end before
  /// it; what it stored to refused pages, the port has put back.
  open func takesBackStep() -> Bool { false }

  /// The write that `filledOnce` let through has happened.
  open func storeCompleted(in page: GuestVirtual, frame: HostFrame) {}

  /// The guest is about to change CR0, CR3, CR4, EFER, PAT or PKRU.
  ///
  /// The processor's own checks have passed; old and new may be equal.
  open func controlsWillChange(
    from old: ControlRegisters, to new: ControlRegisters, by instruction: ControlInstruction
  ) -> ControlVerdict { .accepted }

  /// INVLPG, with the exact address.
  open func invalidate(_ address: GuestVirtual) {}

  /// INVPCID.
  open func invalidate(_ scope: InvalidationScope, pcid: UInt16, address: GuestVirtual) {}

  /// IN of 1, 2 or 4 bytes.
  open func readPort(_ port: UInt16, byteCount: Int) -> UInt32 { .max }

  /// OUT of 1, 2 or 4 bytes.
  open func writePort(_ port: UInt16, byteCount: Int, value: UInt32) {}

  /// A read of 1, 2 or 4 bytes from a device's address; an 8-byte read comes as two.
  open func readDevice(_ address: GuestPhysical, byteCount: Int) -> UInt64 { .max }

  /// A write of 1, 2 or 4 bytes to a device's address; an 8-byte write comes as two.
  open func writeDevice(_ address: GuestPhysical, byteCount: Int, value: UInt64) {}

  /// A model-specific register that the processor does not know; `nil` raises #GP(0).
  open func readMSR(_ index: UInt32) -> UInt64? { nil }

  /// Writes a model-specific register that the processor does not know; `false` raises #GP(0).
  open func writeMSR(_ index: UInt32, value: UInt64) -> Bool { false }

  /// CR8: the task priority, 0…15.
  open var taskPriority: UInt8 = 0

  /// Takes the vector of the highest pending interrupt; `nil` when none is deliverable.
  open func acknowledgeInterrupt() -> UInt8? { nil }

  /// The timer that was armed with `Processor.armTimer` has come.
  open func timerExpired() {}

  /// An exception or interrupt is being delivered.
  open func willDeliver(_ event: GuestEvent) {}
}
