public import PagingUnits
import Synchronization

/// The address space of the host process whose memory is the guest's memory: its regions, and its
/// own page table in host frames in x86 format (Linux: `mm_struct`).
///
/// Every function may be called by several threads. A spin lock of the address space's own guards
/// regions and changes of entries; it is never held while a notifier is called, and it is taken
/// before the lock of `HostMemory`. Looking up what is mapped takes no lock: an entry is one atomic
/// word, and a table, once linked, serves the same addresses until the address space ends (a table
/// that makes way for a huge page is set aside, empty, for those addresses).
///
/// A look-up's answer is a snapshot: whoever keeps it must be told of changes (`HostNotifier`) and
/// compare the invalidation sequence, as KVM does.
@safe public struct HostAddressSpace: ~Copyable, @unchecked Sendable {
  /// This address space's share of the host.
  public let host: HostMemory
  /// The limits.
  public let limits: Limits
  /// The top table, of level 4.
  public let root: HostFrame
  let state: UnsafeMutablePointer<HostAddressSpaceState>

  /// How much an address space may hold.
  public struct Limits: Hashable, Sendable {
    /// The most regions.
    public var regions: Int = 1024
    /// The most files ever opened.
    public var files: Int = 64
    /// 1,024 regions and 64 files.
    public init() {}
  }

  /// The first address that the address space chooses by itself.
  public static var lowestChosenAddress: HostVirtual { HostVirtual(0x1000_0000_0000) }
  /// The end of a process's addresses (Linux: `TASK_SIZE_MAX`, 4-level paging).
  public static var endAddress: HostVirtual { HostVirtual(0x7FFF_FFFF_F000) }

  /// An empty address space; fails when no frame is left for its top table.
  public init(
    sharing host: borrowing HostMemory, limits: Limits = Limits()
  ) throws(HostRegionError) {
    guard let block = host.allocate(.page4K, as: .hostTable) else { throw .outOfFrames }
    if !block.isZeroed { host.memory.fillFrame(block.frame, with: 0) }
    self.host = host.share()
    self.limits = limits
    root = block.frame
    // SAFETY: freshly allocated for one state, and freed in `deinit`.
    unsafe state = .allocate(capacity: 1)
    unsafe state.initialize(to: HostAddressSpaceState(limits: limits))
  }

  deinit {
    // SAFETY: nobody else can reach the address space any more.
    for index in unsafe 0..<state.pointee.fileCount {
      // SAFETY: the index is below the count.
      freeTree(unsafe state.pointee.files[index].root, .level4)
    }
    freeTree(root, .level4)
    // SAFETY: as above.
    if let copyRoot = unsafe state.pointee.copyRoot { freeTree(copyRoot, .level4) }
    // SAFETY: initialised in `init`, and nobody else can reach it any more.
    unsafe state.deinitialize(count: 1)
    unsafe state.deallocate()
  }

  func lock() {
    // SAFETY: the state lives as long as the address space.
    unsafe state.pointee.lock.lock()
  }

  func unlock() {
    // SAFETY: the state lives as long as the address space.
    unsafe state.pointee.lock.unlock()
  }
}

/// The part of an address space that changes under its lock.
@safe struct HostAddressSpaceState: ~Copyable {
  /// A file and the top table of its page cache: a page table over the file's own offsets.
  struct OpenFile {
    let file: HostFile
    let root: HostFrame
  }

  let lock = SpinLock()
  let regions: UnsafeMutablePointer<HostRegion>
  let files: UnsafeMutablePointer<OpenFile>
  var regionCount = 0
  var fileCount = 0
  /// The top table of the forked copy, once there was one; it stays until the address space ends.
  var copyRoot: HostFrame?

  init(limits: HostAddressSpace.Limits) {
    precondition(0 < limits.regions && 0 <= limits.files, "limits are counts")
    unsafe regions = .allocate(capacity: limits.regions)
    unsafe files = .allocate(capacity: max(1, limits.files))
  }

  deinit {
    // SAFETY: allocated in `init`; the rows are plain values.
    unsafe regions.deallocate()
    unsafe files.deallocate()
  }
}
