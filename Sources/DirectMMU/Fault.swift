public import GuestMemory
public import PageTables
public import PagingUnits
public import X86Paging

/// An access that the second dimension did not permit, as the exit reports it (KVM:
/// `struct kvm_page_fault`).
public struct FaultRequest: Sendable {
  /// The guest-physical address.
  public var address: GuestPhysical
  /// What was tried, and what the processor met, in KVM's terms.
  public var errorCode: PageFaultErrorCode
  /// The number of the virtual processor, for tracepoints.
  public var processor: UInt32

  /// A fault in full.
  public init(address: GuestPhysical, errorCode: PageFaultErrorCode, processor: UInt32) {
    self.address = address
    self.errorCode = errorCode
    self.processor = processor
  }

  /// Whether data was to be written, fetched as code, or read.
  var kind: AccessKind {
    if errorCode.contains(.write) { return .write }
    return errorCode.contains(.fetch) ? .fetch : .read
  }
}

/// What came of a fault (KVM: `RET_PF_*`).
public enum FaultOutcome: Hashable, Sendable {
  /// Something was in the way that will pass: let the guest try again.
  case retry
  /// No table can permit the access: the hypervisor performs it (a device, or a write to a
  /// read-only slot).
  case emulate
  /// The page may not be written because it holds a guest's table.
  case writeProtected
  /// An entry was installed or repaired.
  case fixed
  /// The access is already permitted.
  case spurious
  /// The page's writes are judged by sub-pages, and the processor refused this one; the page lies
  /// in this frame.
  case subpage(HostFrame)
  /// The host cannot give the page: left to the VMM.
  case failed(HostFailure)

  /// Why the host cannot give a page.
  public enum HostFailure: Hashable, Sendable {
    /// The slot's host address maps nothing (KVM: `KVM_PFN_ERR_FAULT`, -EFAULT).
    case badAddress
    /// The page is damaged (KVM: `KVM_PFN_ERR_HWPOISON`, SIGBUS).
    case poisoned
    /// The host has no memory left for a page or a table (KVM: -ENOMEM).
    case noMemory
  }

  /// The number that the `fast_page_fault` tracepoint prints.
  var traceCode: UInt8 {
    switch self {
    case .retry: 1
    case .emulate: 2
    case .writeProtected: 3
    case .fixed: 5
    case .spurious: 6
    case .failed, .subpage: 4
    }
  }
}

/// What a virtual processor keeps between faults.
public struct FaultState: ~Copyable {
  /// Tables set aside.
  public var cache = TableCache()
  /// The memslot that answered last.
  public var slotHint = SlotHint()
  /// The device page that was met last.
  public var mmio = MMIOCache()

  /// Nothing yet.
  public init() {}
}

/// The device page that a processor met last (KVM: `vcpu->arch.mmio_gfn` and `mmio_gen`).
public struct MMIOCache: Sendable {
  private var frame = GuestFrame(0)
  private var generation: UInt64 = .max

  /// Nothing yet.
  public init() {}

  /// Whether this frame was a device's in this generation of memslots.
  func holds(_ frame: GuestFrame, generation: UInt64) -> Bool {
    self.frame == frame && frame.number != 0 && self.generation == generation
  }

  /// Remembers a frame; not while memslots change.
  mutating func remember(_ frame: GuestFrame, generation: UInt64) {
    guard generation >> 63 == 0 else { return }
    self.frame = frame
    self.generation = generation
  }

  /// Forgets it, as a new root or a sync does.
  public mutating func forget() { generation = .max }
}
