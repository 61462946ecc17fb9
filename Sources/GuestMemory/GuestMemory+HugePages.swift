public import PagingUnits
import Synchronization

/// Why no huge page may be at some place of a slot (KVM: `kvm_lpage_info.disallow_lpage`).
public struct HugePageRefusals: Hashable, Sendable {
  /// KVM's word: bits 30…0 count the reasons, bit 31 says that private and shared pages mix.
  public let raw: UInt32

  /// The number of reasons: an end of the slot, a misaligned host address, shadowed guest tables.
  public var count: UInt32 { raw & 0x7FFF_FFFF }
  /// Whether a huge page may be there.
  public var isNone: Bool { raw == 0 }
}

extension GuestMemory {
  private func word(
    _ slot: Memslot, _ frame: GuestFrame, _ level: Level
  ) -> UnsafeMutablePointer<Atomic<UInt32>> {
    precondition(slot.contains(frame), "a frame lies in the slot that is asked about it")
    let shift = 9 &* UInt64(level.depth &- 1)
    let index = Int((frame.number &>> shift) &- (slot.baseFrame.number &>> shift))
    // SAFETY: the store checks the index again.
    return unsafe metadata.word(slot.metadata, level, index)
  }

  /// Why no huge page of `level`, 2 or 3, may hold `frame`.
  ///
  /// No lock; exact under the MMU lock.
  public func hugePageRefusals(
    in slot: Memslot, at frame: GuestFrame, _ level: Level
  ) -> HugePageRefusals {
    // SAFETY: `word` is in bounds.
    HugePageRefusals(raw: unsafe word(slot, frame, level).pointee.load(ordering: .relaxed))
  }

  /// The largest page, at most `limit`, that the slot permits at `frame` (KVM: the first half of
  /// `__kvm_mmu_max_mapping_level`).
  public func largestLevel(
    in slot: Memslot, at frame: GuestFrame, atMost limit: Level
  ) -> Level {
    var level = min(limit, .page1G)
    while level > .page4K, let below = level.below {
      if hugePageRefusals(in: slot, at: frame, level).isNone { return level }
      level = below
    }
    return level
  }

  /// One reason more against huge pages around `frame`, as for a guest table that is shadowed (KVM:
  /// `kvm_mmu_gfn_disallow_lpage`).
  ///
  /// With the MMU lock held as a writer.
  public func refuseHugePages(in slot: Memslot, around frame: GuestFrame) {
    change(slot, frame, .page2M, by: 1)
    change(slot, frame, .page1G, by: 1)
  }

  /// One reason less (KVM: `kvm_mmu_gfn_allow_lpage`).
  ///
  /// With the MMU lock held as a writer; traps when there was none.
  public func allowHugePages(in slot: Memslot, around frame: GuestFrame) {
    change(slot, frame, .page2M, by: -1)
    change(slot, frame, .page1G, by: -1)
  }

  private func change(_ slot: Memslot, _ frame: GuestFrame, _ level: Level, by step: Int32) {
    // SAFETY: `word` is in bounds.
    let old = unsafe word(slot, frame, level).pointee.wrappingAdd(
      UInt32(bitPattern: step), ordering: .relaxed
    ).oldValue
    let count = Int64(old & 0x7FFF_FFFF) + Int64(step)
    precondition(
      0 <= count && count < 0x8000_0000, "reasons against huge pages are taken back once each")
  }

  // MARK: Accounts

  /// How many slots have metadata; under the memslot lock.
  public var metadataCount: Int { metadata.rowsInUse }

  /// How many bytes the slots' metadata takes; under the memslot lock.
  public var metadataByteCount: UInt64 { metadata.byteCount }

  /// Changes the most bytes that the slots' metadata may take; under the memslot lock.
  public func limitMetadata(toBytes bytes: UInt64) { metadata.setByteLimit(bytes) }
}
