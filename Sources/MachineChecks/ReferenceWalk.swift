import PagingUnits
import VirtualMachine

/// The reference's walk of the guest's tables: from the root and from every table that the
/// processor may have kept, all at once, level by level.
struct ReferenceWalk {
  /// A walk on its way down.
  private struct Traveller {
    var table: UInt64
    var rights = ReferenceRights()
    /// Whether it started at the root, so that its end is what the tables say now.
    var isCurrent: Bool
    /// Entries that miss their accessed bit, and tables that were passed, by number.
    var unmarked: UInt64 = 0
    var passed: UInt64 = 0
  }

  var verdict: ReferenceVerdict
  private let memory: ReferenceMemory
  /// Whether reading the guest's tables counts as writing them (SDM volume 3C, "Accessed and Dirty
  /// Flags for EPT"; APM volume 2, "Nested Table Walk").
  private let readsCountAsWrites: Bool
  /// Whether shadow tables translate in the place of the guest's.
  private let isShadow: Bool
  /// Whether the entry that was read last may not be read now.
  private var isHidden = false
  private var isEmulated: Bool { verdict.access.performer == .hypervisor }
  private var mode: ReferenceMode { verdict.mode }
  private var kind: AccessKind { verdict.access.kind }
  private var privilege: Privilege { verdict.access.privilege }

  init(
    _ verdict: ReferenceVerdict, _ memory: ReferenceMemory, _ configuration: MachineConfiguration
  ) {
    self.verdict = verdict
    self.memory = memory
    isShadow = configuration.mmu == .shadow
    readsCountAsWrites =
      verdict.access.performer == .processor && configuration.mmu == .direct
      && (configuration.vendor == .amd || configuration.accessedDirty == .present)
  }

  // MARK: From the top

  /// Finds out what a linear address may lead to.
  mutating func walk(
    _ linear: UInt64, _ remembered: borrowing RememberedWalks,
    _ overwritten: borrowing OverwrittenEntries, _ configuration: MachineConfiguration,
    _ machine: borrowing VirtualMachine
  ) {
    let space = RememberedWalks.Space(mode)
    if (configuration.translationSets > 0 || isShadow) && !isEmulated {
      addKept(linear, space, remembered, machine)
    }
    if mode.levels == 0 {
      let page = RememberedWalks.Page(
        address: linear & ~0xFFF, shift: 12, rights: ReferenceRights(), key: 0, isDirty: true,
        isGlobal: false)
      end(at: page, linear & 0xFFF, Traveller(table: 0, isCurrent: true), leaf: nil, machine)
      return
    }
    var depth = mode.levels
    var root = mode.table(mode.registers.cr3)
    if mode.levels == 3 {
      guard let directory = directory(linear, machine) else { return }
      root = directory
      depth = 2
    }
    var travellers = [Traveller(table: root, isCurrent: true)]
    let top = depth
    while depth >= 1 {
      // Shadows of upper tables are always in step.
      if depth < top && configuration.keepsWalks == .present && !isEmulated && !isShadow {
        join(&travellers, linear, depth, space, remembered)
      }
      var next: [Traveller] = []
      for traveller in travellers {
        if isShadow && depth == 1 && !isEmulated {
          addOverwritten(traveller, linear, overwritten, machine)
        }
        guard let below = step(traveller, linear, depth, machine) else { continue }
        let isKnown = next.contains {
          $0.table == below.table && $0.rights == below.rights && $0.unmarked == below.unmarked
        }
        if !isKnown || below.isCurrent { next.append(below) }
      }
      travellers = next
      depth -= 1
    }
  }

  /// The page directory of PAE paging (SDM volume 3A, "PDPTE Registers"; APM volume 2, "Nested
  /// Paging": there the table in memory is read); `nil` when the access ends here.
  private mutating func directory(
    _ linear: UInt64, _ machine: borrowing VirtualMachine
  ) -> UInt64? {
    let index = linear >> 30 & 3
    var pointer = mode.registers.pdptes[Int(index)]
    if mode.isAMD && !isEmulated && !isShadow {
      let place = mode.registers.cr3 & 0xFFFF_FFE0 + index * 8
      guard let (_, entry) = read(place, isCurrent: true, machine) else { return nil }
      pointer = entry
      if pointer & 1 == 1 && mode.isMalformedPDPTE(pointer) { return fault(9) }
    }
    if pointer & 1 == 0 { return fault(0) }
    return pointer & 0x000F_FFFF_FFFF_F000
  }

  /// Whether sub-page protection refuses the write.
  private func isRefused(_ physical: UInt64, _ machine: borrowing VirtualMachine) -> Bool {
    kind == .write && memory.refusesWrite(physical, verdict.access.touchedBytes, machine)
  }

  private var absentTable: ReferenceEnding { .pageFault(mode.code(kind, privilege, 0)) }

  private mutating func fault(_ why: UInt32) -> UInt64? {
    verdict.current = .pageFault(mode.code(kind, privilege, why))
    return nil
  }

  /// Adds the translations that the processor may have kept.
  private mutating func addKept(
    _ linear: UInt64, _ space: RememberedWalks.Space, _ remembered: borrowing RememberedWalks,
    _ machine: borrowing VirtualMachine
  ) {
    var kept: [RememberedWalks.Page] = []
    remembered.forEachPage(linear, space) { kept.append($0) }
    for page in kept { addStill(page, linear, machine) }
  }

  /// Adds a translation that may still be in use.
  private mutating func addStill(
    _ page: RememberedWalks.Page, _ linear: UInt64, _ machine: borrowing VirtualMachine
  ) {
    if kind == .write && !page.isDirty { return }
    guard mode.refusal(kind, privilege, page.rights, key: page.key) == nil else { return }
    let physical = page.address | linear & (1 << page.shift - 1)
    guard case .place(let host) = memory.answer(physical, writes: kind == .write, machine)
    else { return }
    if isRefused(physical, machine) { return }
    verdict.ways.append(
      ReferenceWay(
        page: page, physical: physical, host: host, permitted: permitted(page), isWalk: false,
        bytes: memory.bytes(verdict.access.byteCount, at: host, machine)))
  }

  /// Adds what a page table said since the processor last had to forget the address: its shadow may
  /// be out of sync.
  private mutating func addOverwritten(
    _ traveller: Traveller, _ linear: UInt64, _ overwritten: borrowing OverwrittenEntries,
    _ machine: borrowing VirtualMachine
  ) {
    guard !overwritten.isEmpty else { return }
    let place = traveller.table | mode.entryOffset(linear, 1)
    guard let host = memory.hostAddress(place) else { return }
    var old: [UInt64] = []
    overwritten.forEach(
      at: host, byteCount: Int(mode.entryByteCount), linear, verdict.access.processor, mode
    ) { entry in
      if !old.contains(entry) { old.append(entry) }
    }
    for entry in old where entry & 0x21 == 0x21 && !mode.isMalformed(entry, 1) {
      let page = RememberedWalks.Page(
        address: mode.page(entry, 1), shift: 12, rights: traveller.rights.narrowed(by: entry),
        key: 0, isDirty: entry >> 6 & 1 == 1, isGlobal: false)
      addStill(page, linear, machine)
    }
  }

  /// Adds the walks that may start at a kept table.
  private mutating func join(
    _ travellers: inout [Traveller], _ linear: UInt64, _ depth: Int,
    _ space: RememberedWalks.Space, _ remembered: borrowing RememberedWalks
  ) {
    remembered.forEachTable(linear, depth: depth, shift: mode.shift(depth + 1), space) { kept in
      let isKnown = travellers.contains {
        $0.table == kept.address && $0.rights == kept.rights && $0.unmarked == 0
      }
      if !isKnown {
        travellers.append(Traveller(table: kept.address, rights: kept.rights, isCurrent: false))
      }
    }
  }

  // MARK: One level

  /// Reads an entry; `nil` when the way ends here.
  ///
  /// The number is that under which it is listed.
  private mutating func read(
    _ place: UInt64, isCurrent: Bool, _ machine: borrowing VirtualMachine
  ) -> (number: Int, value: UInt64)? {
    isHidden = false
    guard verdict.entries.count < 60 else {
      verdict.isOpen = true
      return nil
    }
    let answer = memory.answer(place, writes: readsCountAsWrites, machine)
    guard case .place(let host) = answer else {
      // The hypervisor takes a table that it cannot read for one that is not there (KVM:
      // `FNAME(walk_addr_generic)`).
      if isCurrent {
        verdict.current = isEmulated || isShadow ? absentTable : ending(answer, place, machine)
      }
      return isShadow && !isEmulated ? hidden(place, machine) : nil
    }
    if memory.isProtected(place, machine) { verdict.isNearSubpages = true }
    let width = mode.levels == 2 ? 4 : 8
    // What cannot be read is not there either: the answer would not have been a place.
    let value = memory.bytes(width, at: host, machine) ?? 0
    verdict.entries.append(ReferenceEntry(physical: place, host: host, value: value))
    return (verdict.entries.count - 1, value)
  }

  /// An entry that nobody may read now, which a shadow has followed while somebody could; `nil`
  /// when it is lost.
  private mutating func hidden(
    _ place: UInt64, _ machine: borrowing VirtualMachine
  ) -> (number: Int, value: UInt64)? {
    guard let host = memory.hostAddress(place),
      let value = memory.bytes(mode.levels == 2 ? 4 : 8, at: host, machine)
    else { return nil }
    isHidden = true
    verdict.entries.append(ReferenceEntry(physical: place, host: host, value: value))
    return (verdict.entries.count - 1, value)
  }

  private mutating func ending(
    _ answer: ReferenceMemory.Answer, _ physical: UInt64, _ machine: borrowing VirtualMachine
  ) -> ReferenceEnding {
    if case .place = answer {
      return isRefused(physical, machine) ? .subpageRefused(physical) : .memory
    }
    // A page that was a device's before it came into a slot may still be marked so. An EPT
    // misconfiguration does not tell reads from writes, so that the page is looked up as for a read
    // first, which may fail otherwise than the write (KVM: `handle_ept_misconfig`).
    if !mode.isAMD && !isEmulated,
      case .failed(let reason) = memory.answer(physical, writes: false, machine)
    {
      verdict.alternative = .failed(reason, physical)
    }
    if case .failed(let reason) = answer { return .failed(reason, physical) }
    return .device(physical)
  }

  /// Takes one walk one level down; `nil` when it has ended.
  private mutating func step(
    _ traveller: Traveller, _ linear: UInt64, _ depth: Int, _ machine: borrowing VirtualMachine
  ) -> Traveller? {
    let place = traveller.table | mode.entryOffset(linear, depth)
    guard let (number, entry) = read(place, isCurrent: traveller.isCurrent, machine) else {
      return nil
    }
    var traveller = traveller
    if isHidden { traveller.isCurrent = false }
    if entry & 1 == 0 || mode.isMalformed(entry, depth) {
      if traveller.isCurrent { _ = fault(entry & 1 == 0 ? 0 : 9) }
      return nil
    }
    var below = traveller
    below.rights = traveller.rights.narrowed(by: entry)
    if entry >> 5 & 1 == 0 { below.unmarked |= 1 << UInt64(number) }
    if mode.isPage(entry, depth) {
      let page = RememberedWalks.Page(
        address: mode.page(entry, depth), shift: mode.shift(depth), rights: below.rights,
        key: mode.is64Bit ? UInt8(truncatingIfNeeded: entry >> 59 & 15) : 0,
        isDirty: entry >> 6 & 1 == 1 || kind == .write,
        isGlobal: mode.hasGlobalPages && entry >> 8 & 1 == 1)
      let leaf = kind == .write && entry >> 6 & 1 == 0 ? number : nil
      end(at: page, linear & (1 << page.shift - 1), below, leaf: leaf, machine)
      return nil
    }
    below.table = mode.table(entry)
    verdict.tables.append(
      (RememberedWalks.Table(address: below.table, rights: below.rights), depth - 1))
    below.passed |= 1 << UInt64(verdict.tables.count - 1)
    return below
  }

  // MARK: The end

  private func permitted(_ page: RememberedWalks.Page) -> UInt8 {
    var bits: UInt8 = 0
    for kind in AccessKind.allCases
    where (kind != .write || page.isDirty)
      && mode.refusal(kind, privilege, page.rights, key: page.key) == nil
    {
      bits |= 1 << kind.rawValue
    }
    return bits
  }

  /// A walk came to a page: `leaf` is the entry whose dirty bit the access has to set.
  private mutating func end(
    at page: RememberedWalks.Page, _ offset: UInt64, _ traveller: Traveller, leaf: Int?,
    _ machine: borrowing VirtualMachine
  ) {
    if let code = mode.refusal(kind, privilege, page.rights, key: page.key) {
      if traveller.isCurrent { verdict.current = .pageFault(code) }
      return
    }
    let physical = page.address | offset
    if isEmulated || isShadow {
      if !isEmulated { addStillThere(page, physical, traveller, leaf, machine) }
      if !traveller.isCurrent { return }
      endEmulation(at: page, physical, traveller, leaf, machine)
      return
    }
    let answer = memory.answer(physical, writes: kind == .write, machine)
    guard case .place(let host) = answer else {
      if traveller.isCurrent { verdict.current = ending(answer, physical, machine) }
      return
    }
    if isRefused(physical, machine) {
      if traveller.isCurrent { verdict.current = .subpageRefused(physical) }
      return
    }
    guard mayMark(traveller, leaf, machine) else { return }
    if traveller.isCurrent { verdict.current = .memory }
    verdict.ways.append(
      ReferenceWay(
        page: page, physical: physical, host: host, permitted: permitted(page),
        marked: traveller.unmarked, dirtied: leaf, passed: traveller.passed,
        isCurrent: traveller.isCurrent,
        bytes: memory.bytes(verdict.access.byteCount, at: host, machine)))
  }

  /// Adds the translation of a walk that has nothing to mark: a shadow entry may have it already,
  /// so that nobody reads the guest's tables.
  private mutating func addStillThere(
    _ page: RememberedWalks.Page, _ physical: UInt64, _ traveller: Traveller, _ leaf: Int?,
    _ machine: borrowing VirtualMachine
  ) {
    guard traveller.unmarked == 0, leaf == nil else { return }
    addStill(page, page.address | physical & (1 << page.shift - 1), machine)
  }

  /// Whether the entries may be marked, where that is an access of its own: from the top down, so
  /// that those above one that may not be written are marked all the same.
  private mutating func mayMark(
    _ traveller: Traveller, _ leaf: Int?, _ machine: borrowing VirtualMachine
  ) -> Bool {
    var marked: UInt64 = 0
    if spoilsDirectory(traveller, leaf) { return false }
    for number in verdict.entries.indices {
      guard traveller.unmarked >> UInt64(number) & 1 == 1 || leaf == number else { continue }
      let entry = verdict.entries[number]
      if !readsCountAsWrites {
        let answer = memory.answer(entry.physical, writes: true, machine)
        guard case .place = answer else {
          if traveller.isCurrent {
            verdict.current = ending(answer, entry.physical, machine)
            verdict.markedBeforeEnding = marked
          }
          return false
        }
      }
      marked |= 1 << UInt64(number)
    }
    return true
  }

  /// Whether marking spoils the PDPTE that the walk went by, which has no accessed bit: when the
  /// same entry is to be marked again, it is not what was read, the walk starts over, and finds the
  /// bit reserved.
  private mutating func spoilsDirectory(_ traveller: Traveller, _ leaf: Int?) -> Bool {
    guard mode.isAMD && mode.levels == 3 && !isEmulated && !isShadow,
      let pointer = verdict.entries.first
    else {
      return false
    }
    let spoiling = verdict.entries.indices.filter {
      $0 > 0 && (traveller.unmarked >> UInt64($0) & 1 == 1 || $0 == leaf)
        && verdict.entries[$0].host == pointer.host
    }
    guard spoiling.count > 1 else { return false }
    if traveller.isCurrent {
      _ = fault(9)
      verdict.markedBeforeEnding = 1 << UInt64(spoiling[0])
    }
    return true
  }

  /// The hypervisor marks first and reaches afterwards; what may not be written it leaves as it is
  /// (KVM: `FNAME(update_accessed_dirty_bits)`).
  private mutating func endEmulation(
    at page: RememberedWalks.Page, _ physical: UInt64, _ traveller: Traveller, _ leaf: Int?,
    _ machine: borrowing VirtualMachine
  ) {
    var marked: UInt64 = 0
    var dirtied: Int?
    for number in verdict.entries.indices {
      let isUnmarked = traveller.unmarked >> UInt64(number) & 1 == 1
      guard isUnmarked || leaf == number else { continue }
      // What sub-pages refuse stays as it is, before anything is asked of the host.
      let width = mode.levels == 2 ? 4 : 8
      if machine.configuration.guestMarks == .judged,
        memory.refusesWrite(verdict.entries[number].physical, width, machine)
      {
        continue
      }
      switch memory.answer(verdict.entries[number].physical, writes: true, machine) {
      case .device: continue
      case .place:
        if isUnmarked { marked |= 1 << UInt64(number) }
        if leaf == number { dirtied = number }
      case .failed:
        verdict.current = absentTable
        verdict.markedBeforeEnding = marked
        return
      }
    }
    let answer = memory.answer(physical, writes: kind == .write, machine)
    verdict.current = ending(answer, physical, machine)
    verdict.markedBeforeEnding = marked
    verdict.dirtiedBeforeEnding = dirtied
    guard case .place(let host) = answer, !isRefused(physical, machine) else { return }
    verdict.ways.append(
      ReferenceWay(
        page: page, physical: physical, host: host, permitted: permitted(page), marked: marked,
        dirtied: dirtied, passed: traveller.passed, isCurrent: true,
        bytes: memory.bytes(verdict.access.byteCount, at: host, machine)))
  }

  /// Finds out what a guest-physical address leads to.
  mutating func reach(_ physical: UInt64, _ machine: borrowing VirtualMachine) {
    // A write without a linear address is not eligible, and the hypervisor's to perform.
    if kind == .write && memory.isProtected(physical, machine) { verdict.isNearSubpages = true }
    let answer = memory.answer(physical, writes: kind == .write, machine)
    verdict.current = ending(answer, physical, machine)
    guard case .place(let host) = answer, !isRefused(physical, machine) else { return }
    let page = RememberedWalks.Page(
      address: physical & ~0x3FFF_FFFF, shift: 30, rights: ReferenceRights(), key: 0, isDirty: true,
      isGlobal: false)
    verdict.ways.append(
      ReferenceWay(
        page: page, physical: physical, host: host, permitted: 7, isCurrent: true,
        bytes: memory.bytes(verdict.access.byteCount, at: host, machine)))
  }
}
