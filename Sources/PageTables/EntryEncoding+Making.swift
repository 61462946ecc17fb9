public import HostMemory
import Mutations
public import PagingUnits

/// What a leaf is made from (KVM: the arguments of `make_spte`).
public struct LeafRequest: Hashable, Sendable {
  /// Where the page lies; the first frame of a large one.
  public var frame: HostFrame
  /// The level of the table that will hold the entry.
  public var level: Level
  /// What the translation permits.
  public var rights: AccessRights
  /// Whether slot and host mapping may be written.
  public var host: HostRight
  /// Whether an access asked for the page, or the MMU guessed that one will.
  public var cause: Cause
  /// How the table uses accessed and dirty bits.
  public var accessedDirty: AccessedDirtyUse
  /// What lies behind the frame.
  public var backing: Backing

  /// Whether slot and host mapping may be written.
  public enum HostRight: Hashable, Sendable { case readOnly, writable }
  /// Whether an access asked for the page.
  public enum Cause: Hashable, Sendable { case access, prefetch }
  /// What lies behind a frame: ordinary memory is write-back and may be encrypted, a device is
  /// uncacheable and never is.
  public enum Backing: Hashable, Sendable {
    case memory, device

    /// What lies behind a page of the host process (KVM: `kvm_is_mmio_pfn`).
    public init(_ page: HostPage) { self = page.isDevice ? .device : .memory }
  }

  /// A request in full.
  public init(
    frame: HostFrame, level: Level, rights: AccessRights, host: HostRight, cause: Cause,
    accessedDirty: AccessedDirtyUse, backing: Backing
  ) {
    self.frame = frame
    self.level = level
    self.rights = rights
    self.host = host
    self.cause = cause
    self.accessedDirty = accessedDirty
    self.backing = backing
  }
}

/// How entries are spelled.
extension EntryEncoding {
  /// An entry that maps memory, replacing `old` (KVM: `make_spte`).
  ///
  /// The dirty bit is set when the entry becomes writable, before any write: whoever harvests
  /// dirty pages has to protect them again. An entry that was already writable keeps its dirty
  /// state to the processor.
  public func leaf(_ request: LeafRequest, replacing old: SPTE) -> SPTE {
    var word = SPTELayout.mmuPresentBit | present
    word |= request.accessedDirty.rawValue << SPTELayout.accessedDirtyTypeShift
    if request.accessedDirty != .disabled { word |= accessed }
    word |= request.rights.contains(.execute) ? execute : noExecute
    let isUsers = Mutation.supervisorLeafOpenToUser.isActive && format == .shadow
    if request.rights.contains(.user) || isUsers { word |= user }
    if request.level > .page4K { word |= SPTELayout.pageSizeBit }
    let isForgotten = Mutation.leavesMissEncryption.isActive && encryption != 0
    if request.backing == .memory && !isForgotten { word |= memory }
    if Mutation.deviceLeavesEncrypted.isActive { word |= encryption }
    word |= request.frame.number << 12
    var mayWrite = request.rights.contains(.write)
    let believes = request.host == .writable || Mutation.writeRightOnReadOnlyPage.isActive
    if believes { word |= hostWritable } else { mayWrite = false }
    if mayWrite {
      word |= SPTELayout.writeBit | mmuWritable
      let keepsDirtyState = old.isPresentLeaf(at: request.level) && old.isWritable
      if !keepsDirtyState && request.accessedDirty == .enabled { word |= dirty }
    }
    let entry = SPTE(raw: word)
    return request.cause == .prefetch ? withoutAccess(entry) : entry
  }

  /// An entry that points to a table, with every right: restrictions live in the leaves (KVM:
  /// `make_nonleaf_spte`).
  public func table(_ frame: HostFrame, accessedDirty use: AccessedDirtyUse) -> SPTE {
    var word = SPTELayout.mmuPresentBit | present | SPTELayout.writeBit | user | execute
    word |= frame.number << 12 | encryption
    if use == .disabled {
      word |= use.rawValue << SPTELayout.accessedDirtyTypeShift
    } else {
      word |= accessed
    }
    return SPTE(raw: word)
  }

  /// An entry of a PAE root that points to a table: PDPTEs have no rights, and their bits are
  /// reserved (SDM volume 3A, "PAE Paging").
  public func directoryPointer(_ frame: HostFrame) -> SPTE {
    let encryption = Mutation.localEntriesMissEncryption.isActive ? 0 : encryption
    return SPTE(raw: SPTELayout.mmuPresentBit | present | frame.number << 12 | encryption)
  }

  /// An entry that says "device" (KVM: `make_mmio_spte`).
  ///
  /// * `rights`: what the translation permits; remembered under NPT only.
  /// * `generation`: the memslot generation; its low 19 bits are kept.
  public func mmio(_ frame: GuestFrame, _ rights: AccessRights, generation: UInt64) -> SPTE {
    var word = Mutation.deviceEntriesEncrypted.isActive ? mmioValue | encryption : mmioValue
    var access: UInt64 = 0
    if rights.contains(.write) { access |= SPTELayout.writeBit }
    if rights.contains(.user) { access |= user }
    word |= access & mmioAccess
    let kept: UInt64 = Mutation.mmioGFNLostL1TFBits.isActive ? 0xF_FFFF : .max
    word |= (frame.number & kept) << 12 & mmioAddress
    word = SPTELayout.MMIO.generationLow.setting(generation & 0xFF, in: word)
    word = SPTELayout.MMIO.generationHigh.setting(generation >> 8 & 0x7FF, in: word)
    return SPTE(raw: word)
  }

  /// The entry of one part of a large page that is being split (KVM: `make_huge_page_split_spte`).
  ///
  /// * `large`: the entry of the large page, at `level`.
  /// * `index`: which of the 512 parts.
  public func part(_ index: Int, of large: SPTE, at level: Level) -> SPTE {
    guard let below = level.below else { preconditionFailure("a 4 KiB page has no parts") }
    let step = Mutation.splitPartsOutOfPlace.isActive ? 0 : below.frameCount
    let frame = frame(of: large) + UInt64(index) * step
    let cleared = frameMask | (below == .page4K ? SPTELayout.pageSizeBit : 0)
    return large.setting(frame.number << 12, clearing: cleared)
  }

  // MARK: Accessed, dirty and write state

  /// The entry as if nobody had accessed the page (KVM: clear A, or `mark_spte_for_access_track`).
  ///
  /// Without accessed bits the read and execute rights are set aside and every right is taken
  /// away, so that the next access comes to the MMU; write comes back through MMU-writable.
  public func withoutAccess(_ entry: SPTE) -> SPTE {
    if usesAccessedBit(entry) { return entry.setting(0, clearing: accessed) }
    if isAccessTracked(entry) { return entry }
    let saved = (entry.raw & Self.savedRights) << Self.savedShift
    return parking(entry).setting(
      saved, clearing: trackedRights | Self.savedRights << Self.savedShift)
  }

  /// The entry with the rights that access tracking had set aside (KVM:
  /// `restore_acc_track_spte`).
  public func restoringRights(_ entry: SPTE) -> SPTE {
    let rights = (entry.raw >> Self.savedShift) & Self.savedRights
    if Mutation.accTrackRestoreUpgradesWrite.isActive {
      return entry.setting(
        rights | SPTELayout.writeBit,
        clearing: trackedRights | Self.savedRights << Self.savedShift)
    }
    return entry.setting(
      rights, clearing: trackedRights | Self.savedRights << Self.savedShift)
  }

  /// The entry writable; only for entries that are MMU-writable.
  public func withWrite(_ entry: SPTE) -> SPTE {
    precondition(isMMUWritable(entry), "only an MMU-writable entry may become writable")
    return entry.setting(SPTELayout.writeBit)
  }

  /// The entry without the right to write, which the fast fault may give back.
  public func withoutWrite(_ entry: SPTE) -> SPTE {
    entry.setting(0, clearing: SPTELayout.writeBit)
  }

  /// The entry without the right to write, which only the MMU lock may give back.
  public func writeProtected(_ entry: SPTE) -> SPTE {
    entry.setting(0, clearing: SPTELayout.writeBit | mmuWritable)
  }

  private static let savedRights: UInt64 = 0b101
  private static let savedShift: UInt64 = 54

  // MARK: Flushing

  /// Whether a processor may still hold more than the new entry allows (KVM: `mmu_spte_update`).
  ///
  /// Decided on MMU-writable, not on writable: another processor may have made the entry writable
  /// and cached it a moment ago. Both entries are present leaves.
  public func owesFlush(from old: SPTE, to new: SPTE) -> Bool {
    if isMMUWritable(old) && !new.isWritable { return true }
    if isArmed(old) && !isArmed(new) && !new.isWritable { return true }
    if isAccessed(old) && !isAccessed(new) { return true }
    return isDirty(old) && !isDirty(new)
  }
}
