public import PagingUnits
public import X86Paging

/// An entry of a page table in words.
public struct EntryText: Sendable {
  /// The format that the entry is in.
  public var format: EntryFormat

  /// Words for entries of `format`.
  public init(_ format: EntryFormat) { self.format = format }

  /// Writes what an entry says: a table or a page and where, then every bit that is set.
  ///
  /// - Parameters:
  ///   - entry: the entry's bits.
  ///   - level: the level it was read at.
  ///   - text: where the words go.
  public func append(_ entry: UInt64, at level: Level, to text: inout TextBuffer) {
    guard entry & format.presentMask != 0 else {
      text.append("not present")
      return
    }
    let depth = Int(level.depth)
    if depth == 1 || entry & format.pageSizeBit != 0 {
      text.appendSize(format.byteCount(at: depth))
      text.append(" page ")
      text.appendPrefixedHex(format.pageAddress(of: entry, at: depth))
    } else {
      text.append("table ")
      text.appendPrefixedHex(entry & format.frameMask)
    }
    text.append(": ")
    if format.family == .ept {
      appendEPTBits(entry, to: &text)
      if depth == 1 && EPTEntryLayout.subpageWrites.isSet(in: entry) { text.append(" sub-pages") }
    } else {
      appendGuestBits(entry, to: &text)
    }
  }

  private func appendGuestBits(_ entry: UInt64, to text: inout TextBuffer) {
    text.append(GuestEntryLayout.write.isSet(in: entry) ? "writable" : "read-only")
    text.append(GuestEntryLayout.user.isSet(in: entry) ? " user" : " supervisor")
    if GuestEntryLayout.writeThrough.isSet(in: entry) { text.append(" write-through") }
    if GuestEntryLayout.cacheDisable.isSet(in: entry) { text.append(" cache-disable") }
    if GuestEntryLayout.accessed.isSet(in: entry) { text.append(" accessed") }
    if GuestEntryLayout.dirty.isSet(in: entry) { text.append(" dirty") }
    if GuestEntryLayout.pageSize.isSet(in: entry) { text.append(" bit-7") }
    if GuestEntryLayout.global.isSet(in: entry) { text.append(" global") }
    guard format.family == .long else { return }
    let key = GuestEntryLayout.protectionKey.value(in: entry)
    if key != 0 {
      text.append(" key ")
      text.appendDecimal(key)
    }
    if GuestEntryLayout.noExecute.isSet(in: entry) { text.append(" no-execute") }
  }

  private func appendEPTBits(_ entry: UInt64, to text: inout TextBuffer) {
    text.append(EPTEntryLayout.read.isSet(in: entry) ? 0x72 : 0x2D)
    text.append(EPTEntryLayout.write.isSet(in: entry) ? 0x77 : 0x2D)
    text.append(EPTEntryLayout.execute.isSet(in: entry) ? 0x78 : 0x2D)
    text.append(" memory-type ")
    text.appendDecimal(EPTEntryLayout.memoryType.value(in: entry))
    if EPTEntryLayout.ignorePAT.isSet(in: entry) { text.append(" ignore-PAT") }
    if EPTEntryLayout.pageSize.isSet(in: entry) { text.append(" bit-7") }
    if EPTEntryLayout.accessed.isSet(in: entry) { text.append(" accessed") }
    if EPTEntryLayout.dirty.isSet(in: entry) { text.append(" dirty") }
    if EPTEntryLayout.suppressVE.isSet(in: entry) { text.append(" suppress-VE") }
  }
}
