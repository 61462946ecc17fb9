import DirectMMU
import GuestMemory
import HardwareModel
public import PagingUnits
public import VirtualMachine

/// Whether an access ended as it lawfully may.
extension Reference {
  /// Judges what came of an access; `nil` when it is lawful.
  ///
  /// It looks at where the access went, at what else it says may go there, at accessed and dirty
  /// bits of every guest entry on the way (set where they must be, nowhere else), at the bytes
  /// behind, and at the machine's own tables.
  public mutating func judge(
    _ outcome: AccessOutcome, of verdict: ReferenceVerdict, in machine: borrowing VirtualMachine
  ) -> Violation? {
    let violation = judgeAsMade(outcome, of: verdict, in: machine)
    guard violation != nil, verdict.isNearSubpages, verdict.access.performer == .processor else {
      return violation
    }
    // A processor whose walk met a protected page left the access to the hypervisor.
    var access = verdict.access
    access.performer = .hypervisor
    var performed = expect(access, in: machine)
    performed.isNearSubpages = true
    return judgeAsMade(outcome, of: performed, in: machine) == nil ? nil : violation
  }

  private mutating func judgeAsMade(
    _ outcome: AccessOutcome, of verdict: ReferenceVerdict, in machine: borrowing VirtualMachine
  ) -> Violation? {
    let memory = memory(verdict.addressSpace, machine)
    let ending: ReferenceEnding
    switch outcome {
    case .translated(let translation):
      return judge(translation, verdict, memory, machine)
    case .tableStore(let translation):
      return judge(translation, verdict, memory, machine, isRepeatable: false)
    case .stuck(let address):
      return Violation("an access makes progress", found: "stuck at \(hex(address.raw))")
    case .failed(.noMemory, _) where supply == .scarce: return nil
    case .failed(.noMemory, let address)
    where memory.mayRunDry(address.raw, machine)
      && (verdict.ways.contains { $0.physical == address.raw }
        || verdict.entries.contains { $0.physical == address.raw }):
      return nil
    case .pageFault(let code):
      // The hypervisor takes a table that the host cannot bring back for one that is not there;
      // under shadow paging it walks for the processor.
      let access = verdict.access
      let isWalkedInSoftware = access.performer == .hypervisor || configuration.mmu == .shadow
      if supply == .scarce && isWalkedInSoftware
        && code == verdict.mode.code(access.kind, access.privilege, 0)
      {
        return nil
      }
      ending = .pageFault(code)
    case .generalProtection: ending = .generalProtection
    case .device(let address): ending = .device(address.raw)
    case .subpageRefused(let translation):
      ending = .subpageRefused(translation.guestPhysical.raw)
    case .subpageMiss(let address):
      return Violation(
        "sub-page-permission tables are filled on a miss", found: "not for \(hex(address.raw))")
    case .subpageMisconfiguration(let address):
      return Violation(
        "sub-page-permission tables are well-formed", found: "malformed for \(hex(address.raw))")
    case .failed(let reason, let address): ending = .failed(reason, address.raw)
    }
    guard ending == verdict.current || ending == verdict.alternative else {
      return isLawfulAgain(ending, verdict, memory, machine)
        ? nil : unlawful("\(ending)", verdict)
    }
    if case .pageFault(let code) = ending, let linear = verdict.linear,
      verdict.access.performer == .processor,
      // A fault on what is not there, or has a reserved bit, leaves the shadow tables as they are
      // (KVM: `kvm_inject_emulated_page_fault`).
      configuration.mmu == .direct || code & 9 == 1
    {
      let mode = verdict.mode
      overwritten.forget(
        .linearAddress(GuestVirtual(linear)), mode, by: verdict.access.processor)
      remembered[verdict.access.processor].forgetPath(
        linear, RememberedWalks.Space(mode), shift: mode.shift)
    }
    // The MMU's own walk, which marks what it passes, comes before a device is found.
    if case .device = ending, configuration.mmu == .shadow { return nil }
    return marksViolation(
      verdict, marked: verdict.markedBeforeEnding, dirtied: verdict.dirtiedBeforeEnding, memory,
      machine)
  }

  /// Whether an access may end so because it was made again.
  ///
  /// One that leaves the guest on its way starts over, and its own accessed bits are then in the
  /// tables that it reads: in an entry that serves as PDPTE too, where they are reserved.
  private mutating func isLawfulAgain(
    _ ending: ReferenceEnding, _ verdict: ReferenceVerdict, _ memory: ReferenceMemory,
    _ machine: borrowing VirtualMachine
  ) -> Bool {
    // Nowhere else does a walk read an entry in which its own accessed bit is reserved.
    guard verdict.mode.isAMD && verdict.mode.levels == 3, configuration.mmu == .direct else {
      return false
    }
    let width = 8
    let isMarked = verdict.entries.contains { entry in
      let found = memory.bytes(width, at: entry.host, machine) ?? entry.value
      return found != entry.value && found & ~0x60 == entry.value & ~0x60
    }
    return isMarked && expect(verdict.access, in: machine).current == ending
  }

  private func unlawful(_ found: String, _ verdict: ReferenceVerdict) -> Violation {
    Violation(
      "an access ends as guest tables, memslots and host say",
      found: "\(Self.words(verdict)) came to \(found), lawful is \(verdict.expectation)")
  }

  private static func words(_ verdict: ReferenceVerdict) -> String {
    let access = verdict.access
    let address =
      switch access.target {
      case .virtual(let address): "GVA \(hex(address.raw))"
      case .physical(let address): "GPA \(hex(address.raw))"
      }
    let performer = access.performer == .hypervisor ? "emulated " : ""
    return "\(performer)\(access.privilege) \(access.kind) of \(address)"
  }

  // MARK: Memory

  private mutating func judge(
    _ translation: Translation, _ verdict: ReferenceVerdict, _ memory: ReferenceMemory,
    _ machine: borrowing VirtualMachine, isRepeatable: Bool = true
  ) -> Violation? {
    let found = {
      "\(hex(translation.guestPhysical.raw)) → \(hex(translation.hostPhysical.raw)), level "
        + "\(translation.level.depth), usable \(translation.usable.rawValue)"
        + (translation.isGlobal ? ", global" : "")
    }
    if let violation = hostViolation(
      translation, verdict, memory, machine, isRepeatable: isRepeatable)
    {
      return violation
    }
    var why: Violation?
    var isLawful = verdict.isOpen
    for way in verdict.ways where leads(way, translation, verdict) {
      if let violation = wayViolation(way, translation, verdict, memory, machine) {
        why = why ?? violation
        continue
      }
      isLawful = true
      remember(way, verdict)
    }
    return isLawful ? nil : why ?? unlawful(found(), verdict)
  }

  /// Whether a way leads where an access went.
  private func leads(
    _ way: ReferenceWay, _ translation: Translation, _ verdict: ReferenceVerdict
  ) -> Bool {
    if way.physical != translation.guestPhysical.raw { return false }
    if isPerformed(translation, verdict) { return true }
    let shift = 12 + 9 * UInt64(translation.level.depth - 1)
    // Shadow tables hold no global mark, and translate by large pages where the guest has no
    // tables.
    let isShadow = configuration.mmu == .shadow
    return (shift <= way.page.shift || isShadow && verdict.mode.levels == 0)
      && (way.page.isGlobal == translation.isGlobal || isShadow)
      && Self.bits(translation.usable) & ~way.permitted == 0
  }

  /// Whether the hypervisor performed an access: it was to, or the walk met a protected page.
  private func isPerformed(_ translation: Translation, _ verdict: ReferenceVerdict) -> Bool {
    verdict.access.performer == .hypervisor
      || (verdict.isNearSubpages && translation.usable.isEmpty)
  }

  private static func bits(_ usable: Translation.Usable) -> UInt8 {
    (usable.contains(.read) ? 1 << AccessKind.read.rawValue : 0)
      | (usable.contains(.write) ? 1 << AccessKind.write.rawValue : 0)
      | (usable.contains(.fetch) ? 1 << AccessKind.fetch.rawValue : 0)
  }

  private func hostViolation(
    _ translation: Translation, _ verdict: ReferenceVerdict, _ memory: ReferenceMemory,
    _ machine: borrowing VirtualMachine, isRepeatable: Bool
  ) -> Violation? {
    if isPerformed(translation, verdict) {
      return emulationViolation(translation, verdict, memory)
    }
    let tables = SecondTables(of: verdict.access.processor, in: machine)
    if tables == nil && machine.configuration.mmu == .direct {
      return Violation("a processor that reaches memory has a root", found: Self.words(verdict))
    }
    let needed = UInt8(1) << verdict.access.kind.rawValue
    // What sub-pages let through is asked about each time.
    let isAsked =
      verdict.isNearSubpages || memory.isProtected(translation.guestPhysical.raw, machine)
    if isRepeatable && !isAsked && Self.bits(translation.usable) & needed == 0 {
      return Violation("an access that succeeds may be made again", found: Self.words(verdict))
    }
    let step = HostwardJudge.Step(
      guest: translation.guestPhysical.raw, host: translation.hostPhysical.raw,
      level: translation.level, isWritable: translation.usable.contains(.write),
      isExecutable: translation.usable.contains(.fetch))
    return HostwardJudge(memory: memory, tables: tables).violation(
      step,
      "\(Self.words(verdict)) went by \(hex(translation.guestPhysical.raw)) to "
        + hex(translation.hostPhysical.raw))
  }

  /// An access that the hypervisor makes has to do with memslot and host alone.
  private func emulationViolation(
    _ translation: Translation, _ verdict: ReferenceVerdict, _ memory: ReferenceMemory
  ) -> Violation? {
    guard
      case .page(let byte, let depth, let isWritable)? = memory.host(
        ofGuest: translation.guestPhysical.raw),
      byte == translation.hostPhysical.raw, depth >= Int(translation.level.depth),
      isWritable || verdict.access.kind != .write
    else {
      return Violation(
        "an emulated access goes where memslot and host lead",
        found: "\(Self.words(verdict)) went by \(hex(translation.guestPhysical.raw)) to "
          + hex(translation.hostPhysical.raw))
    }
    return nil
  }

  private func wayViolation(
    _ way: ReferenceWay, _ translation: Translation, _ verdict: ReferenceVerdict,
    _ memory: ReferenceMemory, _ machine: borrowing VirtualMachine
  ) -> Violation? {
    if let violation = marksViolation(
      verdict, marked: way.marked, dirtied: way.dirtied, memory, machine)
    {
      return violation
    }
    guard var bytes = way.bytes, verdict.access.byteCount > 0 else { return nil }
    let count = verdict.access.byteCount
    let place = translation.hostPhysical.raw
    if memory.isMemory(place) {
      // The access may have marked the very entries that it looks at.
      bytes |=
        markedBits(around: place, way, verdict, memory) & (UInt64.max >> UInt64(64 - count * 8))
      let found = memory.bytes(count, atPhysical: place)
      if found != bytes {
        return Violation(
          "an access finds the bytes that were there",
          found: "\(Self.words(verdict)) finds \(hex(found)), there was \(hex(bytes))")
      }
    }
    return nil
  }

  /// The bits that marks set among the eight bytes at a place.
  private func markedBits(
    around place: UInt64, _ way: ReferenceWay, _ verdict: ReferenceVerdict,
    _ memory: ReferenceMemory
  ) -> UInt64 {
    var bits: UInt64 = 0
    for number in verdict.entries.indices {
      let marks = Self.marks(number, way.marked, way.dirtied)
      guard marks != 0, let entry = memory.physical(verdict.entries[number].host) else { continue }
      let distance = Int64(bitPattern: entry &- place) * 8
      if (-64...64).contains(distance) {
        bits |= distance >= 0 ? marks << UInt64(distance) : marks >> UInt64(-distance)
      }
    }
    return bits
  }

  private static func marks(_ number: Int, _ marked: UInt64, _ dirtied: Int?) -> UInt64 {
    (marked >> UInt64(number) & 1) << 5 | (number == dirtied ? 1 << 6 : 0)
  }

  // MARK: Accessed and dirty bits

  /// Whether every entry that was read is what it was, with the marks that it must have now.
  private func marksViolation(
    _ verdict: ReferenceVerdict, marked: UInt64, dirtied: Int?, _ memory: ReferenceMemory,
    _ machine: borrowing VirtualMachine
  ) -> Violation? {
    let width = verdict.mode.levels == 2 ? 4 : 8
    if verdict.isNearSubpages { return nil }
    for number in verdict.entries.indices {
      let entry = verdict.entries[number]
      var meant = entry.value | Self.marks(number, marked, dirtied)
      let found = memory.bytes(width, at: entry.host, machine) ?? entry.value
      if found == meant { continue }
      // The same entry may have been read more than once, under other addresses too.
      let place = memory.physical(entry.host)
      for other in verdict.entries.indices
      where verdict.entries[other].host == entry.host
        || (place != nil && memory.physical(verdict.entries[other].host) == place)
      {
        meant |= Self.marks(other, marked, dirtied)
      }
      // What lies outside memory reads as ones whatever is done to it.
      if found == meant { continue }
      return Violation(
        "accessed and dirty bits are set where they must be and nowhere else",
        found: "\(Self.words(verdict)) left the guest's entry at \(hex(entry.physical)) as "
          + "\(hex(found)), lawful is \(hex(meant))")
    }
    return nil
  }

  // MARK: Remembering

  /// Takes note of what the processor may have kept of a way.
  private mutating func remember(_ way: ReferenceWay, _ verdict: ReferenceVerdict) {
    guard way.isWalk, let linear = verdict.linear, verdict.access.performer == .processor else {
      return
    }
    let (mode, number) = (verdict.mode, verdict.access.processor)
    let space = RememberedWalks.Space(mode)
    remembered[number].remember(way.page, linear, space)
    for index in verdict.tables.indices where way.passed >> UInt64(index) & 1 == 1 {
      let (table, depth) = verdict.tables[index]
      remembered[number].remember(
        table, linear, depth: depth, shift: mode.shift(depth + 1), space)
    }
  }

  // MARK: The dirty log

  /// The frames that the dirty log must hold after an access that came to this, if it logs at all:
  /// the page that is written and the guest's tables that were marked, as far as their memslots log
  /// writes.
  public mutating func framesToLog(
    after outcome: AccessOutcome, of verdict: ReferenceVerdict,
    in machine: borrowing VirtualMachine
  ) -> [GuestFrame] {
    guard case .translated(let translation) = outcome else { return [] }
    let memory = memory(verdict.addressSpace, machine)
    var frames: [GuestFrame] = []
    if verdict.access.kind == .write { frames.append(translation.guestPhysical.frame) }
    for entry in verdict.entries {
      let now = memory.bytes(verdict.mode.levels == 2 ? 4 : 8, at: entry.host, machine)
      if now != entry.value { frames.append(GuestPhysical(entry.physical).frame) }
    }
    return frames.filter { memory.slot($0.number << 12)?.logsWrites ?? false }
  }
}
