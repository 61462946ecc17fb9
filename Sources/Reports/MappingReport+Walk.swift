public import PagingUnits
public import X86Paging

extension MappingReport {
  /// What a walk found for `linear`, or a page that a list of mappings shows.
  public init(_ linear: GuestVirtual, _ mapping: GuestMapping, _ format: EntryFormat) {
    self.init(
      linear: linear, physical: mapping.address, byteCount: mapping.byteCount,
      rights: mapping.rights, marks: MappingMarks(mapping, format))
  }
}

extension MappingMarks {
  /// The marks of a leaf; none without paging, where there is no leaf.
  init(_ mapping: GuestMapping, _ format: EntryFormat) {
    self = []
    let entry = mapping.entry
    if entry & format.accessedBit != 0 { insert(.accessed) }
    if entry & format.dirtyBit != 0 { insert(.dirty) }
    if entry & format.globalBit != 0 { insert(.global) }
    if mapping.level != .page4K { insert(.large) }
    guard format.family != .ept else { return }
    if GuestEntryLayout.cacheDisable.isSet(in: entry) { insert(.cacheDisable) }
    if GuestEntryLayout.writeThrough.isSet(in: entry) { insert(.writeThrough) }
  }
}
