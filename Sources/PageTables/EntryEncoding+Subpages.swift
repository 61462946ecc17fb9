import Mutations
import PagingUnits

/// Leaves whose writes are judged by sub-pages (SDM volume 3C, "Sub-Page Write Permissions").
///
/// An *armed* leaf is readable and not writable, and has bit 61: the processor asks the
/// sub-page-permission tables about each write. A *parked* leaf has the bit set aside, so that the
/// next access or write comes to the MMU (KVM's posted series: `PT_SPP_SAVED_BIT`).
extension EntryEncoding {
  /// Whether writes to the leaf are judged by sub-pages now.
  public func isArmed(_ entry: SPTE) -> Bool {
    format == .ept && entry.isPresent && entry.raw & SPTELayout.EPT.subpages.mask != 0
  }

  /// Whether the leaf's sub-page bit is set aside.
  public func isParked(_ entry: SPTE) -> Bool {
    format == .ept && entry.isPresent && entry.raw & SPTELayout.EPT.savedSubpages.mask != 0
  }

  /// The 4 KiB leaf with its writes judged by sub-pages, if the host lets the page be written at
  /// all.
  ///
  /// No lockless repair may give the right to write back, so the leaf is not MMU-writable. A leaf
  /// that waits for access tracking is parked instead.
  public func arming(_ entry: SPTE) -> SPTE {
    precondition(format == .ept, "only extended page tables have sub-pages")
    let isBelieved = Mutation.subpagesOfReadOnlyHostPage.isActive
    guard isHostWritable(entry) || isBelieved else { return entry }
    let bit = SPTELayout.EPT.subpages.mask
    let kept = Mutation.armedLeafKeepsWrite.isActive ? 0 : SPTELayout.writeBit
    let armed = entry.setting(
      bit, clearing: kept | mmuWritable | dirty | SPTELayout.EPT.savedSubpages.mask)
    return isAccessTracked(entry) ? parking(armed) : armed
  }

  /// The leaf without sub-pages; where the host lets the page be written, the fast fault gives the
  /// right to write back.
  public func disarming(_ entry: SPTE) -> SPTE {
    let bits = SPTELayout.EPT.subpages.mask | SPTELayout.EPT.savedSubpages.mask
    return entry.setting(isHostWritable(entry) ? mmuWritable : 0, clearing: bits)
  }

  /// The armed leaf with its sub-page bit set aside; any other as it is.
  public func parking(_ entry: SPTE) -> SPTE {
    guard isArmed(entry) else { return entry }
    return entry.setting(
      SPTELayout.EPT.savedSubpages.mask, clearing: SPTELayout.EPT.subpages.mask)
  }

  /// The parked leaf armed again; any other as it is.
  public func unparking(_ entry: SPTE) -> SPTE {
    guard isParked(entry) else { return entry }
    return entry.setting(
      SPTELayout.EPT.subpages.mask, clearing: SPTELayout.EPT.savedSubpages.mask)
  }

  /// The armed leaf as dirty logging by write protection needs it: its next write comes to the MMU
  /// (KVM's posted series: `spte_write_protect`).
  public func writeLogged(_ entry: SPTE) -> SPTE {
    parking(entry.setting(0, clearing: SPTELayout.writeBit))
  }
}
