import DirectMMU
import GuestMemory
import HardwareModel
import HostMemory
import MachineChecks
import MachineEvents
import PageTables
import PagingUnits
import VirtualMachine
import X86Paging

/// A processor's half of a stage.
extension Stage {
  /// Performs an access; across a page boundary it is two, and nothing is written before both are
  /// permitted.
  func access(_ step: AccessStep) -> StepResult {
    for _ in 0..<1000 {
      let moment = machine.slots.invalidations.moment
      let pieces: [Piece]
      switch places(of: step) {
      case .success(let found): pieces = found
      case .failure(let stop): return stop.result
      }
      // A processor that finds one page touches it before it leaves the guest, and whoever moves
      // the page waits for that. Nobody waits for an emulator, or for the first of two pages.
      let isHeld = pieces.count == 1 && !step.isEmulated && !pieces[0].isTableStore
      let isUnchanged =
        moment == machine.slots.invalidations.moment
        && !machine.slots.invalidations.isInProgress
      if isHeld || isUnchanged {
        let memory = touch(step, pieces)
        if step.kind == .write { tell(step, pieces) }
        return .reached(memory)
      }
      machine.tables.interleaver.reach(.waitingForLock)
    }
    return .exit(.stuck, GuestPhysical(0), value: nil)
  }

  /// Finds the places of an access, a page at a time.
  private func places(of step: AccessStep) -> Result<[Piece], Stop> {
    var pieces: [Piece] = []
    var done = 0
    repeat {
      let offset = Int((step.address.raw &+ UInt64(done)) & 0xFFF)
      let count = min(step.byteCount - done, 4096 - offset)
      let address = step.address.advanced(by: UInt64(done))
      let outcome = outcome(of: step, at: address, count)
      switch outcome {
      case .success(var piece):
        piece.first = done
        piece.count = count
        pieces.append(piece)
      case .failure(let stop): return .failure(stop)
      }
      done += count
    } while done < step.byteCount
    return .success(pieces)
  }

  /// The part of an access that lies in one page, and where it went.
  private struct Piece {
    var place: Translation
    var first = 0
    var count = 0
    /// Whether the MMU has to know what is stored.
    var isTableStore = false
  }

  /// What ends an access early.
  private struct Stop: Error {
    var result: StepResult
  }

  private func outcome(
    of step: AccessStep, at address: AccessStep.Address, _ count: Int
  ) -> Result<Piece, Stop> {
    let registers = machine[registersOf: step.processor]
    let level = step.privilegeLevel ?? registers.cpl
    let privilege: Privilege =
      step.isImplicit ? .implicitSupervisor : level == 3 ? .user : .supervisor
    let outcome: AccessOutcome
    switch judged(step, address, count, privilege) {
    case .success(let lawful): outcome = lawful
    case .failure(let stop): return .failure(stop)
    }
    switch outcome {
    case .translated(let translation): return .success(Piece(place: translation))
    case .tableStore(let translation):
      return .success(Piece(place: translation, isTableStore: true))
    case .pageFault(let errorCode):
      guard case .virtual(let linear) = address else {
        return .failure(Stop(result: .exit(.stuck, GuestPhysical(0), value: nil)))
      }
      var registers = registers
      registers.cr2 = linear.raw
      machine[registersOf: step.processor] = registers
      return .failure(Stop(result: .pageFault(errorCode: errorCode, address: linear)))
    case .generalProtection: return .failure(Stop(result: .exception("gp")))
    case .device(let physical):
      return .failure(Stop(result: .exit(.mmio, physical, value: step.value)))
    case .subpageRefused(let place):
      return .failure(
        Stop(result: .exit(.subpageViolation, place.guestPhysical, value: step.value)))
    case .subpageMiss(let physical):
      return .failure(Stop(result: .exit(.subpageMiss, physical, value: step.value)))
    case .subpageMisconfiguration(let physical):
      return .failure(Stop(result: .exit(.subpageMisconfiguration, physical, value: nil)))
    case .failed(_, let physical):
      return .failure(Stop(result: .exit(.memoryFault, physical, value: nil)))
    case .stuck(let physical):
      return .failure(Stop(result: .exit(.stuck, physical, value: nil)))
    }
  }

  /// Makes an access that the reference judges.
  private func judged(
    _ step: AccessStep, _ address: AccessStep.Address, _ count: Int, _ privilege: Privilege
  ) -> Result<AccessOutcome, Stop> {
    let target: ReferenceAccess.Target
    switch address {
    case .virtual(let linear): target = .virtual(linear)
    case .physical(let physical): target = .physical(physical)
    }
    let verdict = reference.expect(
      ReferenceAccess(
        processor: step.processor, target, step.kind, privilege,
        by: performer(of: step), byteCount: min(count, 8), touching: count),
      in: machine)
    let outcome = travel(step, address, count, privilege)
    // The reference knows what is right, and the series' defects are not.
    if !settings.subpageQuirks.isEmpty { return .success(outcome) }
    if case .failed(.noMemory, _) = outcome, isShortOfMemory { return .success(outcome) }
    judgedCount += 1
    guard let violation = reference.judge(outcome, of: verdict, in: machine) else {
      return .success(outcome)
    }
    if isInterleaving {
      // Somebody changed what the verdict was about. What the processor may keep is not known now.
      isInDoubt = true
      return .success(outcome)
    }
    return .failure(Stop(result: .violation(violation)))
  }

  /// Who performs an access: under shadow paging the processor has no way past the guest's tables.
  private func performer(of step: AccessStep) -> ReferenceAccess.Performer {
    if case .physical = step.address, settings.mmu == .shadow { return .hypervisor }
    return step.isEmulated ? .hypervisor : .processor
  }

  /// Whether the host may lack the frames that an access needs: for tables and small pages, or one
  /// block for a page of a slot that cannot do with smaller ones.
  private var isShortOfMemory: Bool {
    let order = backing.largestUnit
    return machine.process.host.withFreeBlocks { $0.freeCount < 64 || !$0.canAllocate(order) }
  }

  private func travel(
    _ step: AccessStep, _ address: AccessStep.Address, _ count: Int, _ privilege: Privilege
  ) -> AccessOutcome {
    switch (address, step.isEmulated) {
    case (.virtual(let linear), false):
      machine.access(
        step.processor, linear, step.kind, privilege, byteCount: UInt64(count))
    case (.virtual(let linear), true):
      machine.emulatedAccess(
        step.processor, linear, step.kind, privilege, byteCount: UInt64(count))
    case (.physical(let physical), false):
      machine.access(step.processor, physical, step.kind, byteCount: UInt64(count))
    case (.physical(let physical), true):
      machine.emulatedAccess(step.processor, physical, step.kind, byteCount: UInt64(count))
    }
  }

  /// Reads or writes the bytes that an access reached.
  private func touch(_ step: AccessStep, _ pieces: [Piece]) -> ReachedMemory {
    var value: UInt64 = 0
    let space = machine.addressSpace(of: step.processor)
    for piece in pieces {
      let host = piece.place.hostPhysical
      if step.kind == .write && step.value != nil {
        reference.willStore(
          min(piece.count, max(0, 8 - piece.first)), at: piece.place.guestPhysical, in: space,
          of: machine)
      }
      for index in 0..<piece.count {
        let place = piece.first + index
        guard place < 8 else { break }
        let shift = UInt64(8 * place)
        if step.kind == .write, let new = step.value {
          setByte(UInt8(truncatingIfNeeded: new >> shift), at: host + UInt64(index))
        }
        value |= UInt64(byte(at: host + UInt64(index))) << shift
      }
    }
    let first = pieces[0].place
    return ReachedMemory(
      guestPhysical: first.guestPhysical, hostPhysical: first.hostPhysical,
      pageBytes: first.level.byteCount, value: value)
  }

  /// Tells the machine of stores that it has to know of: those of the processor's to tables of the
  /// guest's, and every one that the hypervisor performs.
  private func tell(_ step: AccessStep, _ pieces: [Piece]) {
    for piece in pieces where piece.isTableStore || step.isEmulated {
      machine.stored(step.processor, at: piece.place.guestPhysical, byteCount: piece.count)
    }
  }

  private func byte(at place: HostPhysical) -> UInt8 {
    let memory = machine.tables.memory
    let word = memory.entryOrOnes(at: HostPhysical(place.raw & ~7))
    return UInt8(truncatingIfNeeded: word >> (8 * (place.raw & 7)))
  }

  private func setByte(_ byte: UInt8, at place: HostPhysical) {
    let memory = machine.tables.memory
    let word = HostPhysical(place.raw & ~7)
    guard memory.contains(word, count: 8) else { return }
    let shift = 8 * (place.raw & 7)
    memory.setEntry(
      memory.entry(at: word) & ~(0xFF << shift) | UInt64(byte) << shift, at: word)
  }

  // MARK: Registers

  /// Changes registers: one control register as its instruction does, several as a VMM does.
  func set(_ change: RegisterChange) -> StepResult {
    let number = change.processor
    let controls = [change.cr0, change.cr3, change.cr4, change.efer].compactMap(\.self).count
    let before = machine[registersOf: number]
    if let pkru = change.pkru, pkru >> 32 != 0 { return .exception("gp") }
    if let pat = change.pat, !Self.isMemoryTypeTable(pat) { return .exception("gp") }
    if let level = change.privilegeLevel, level > 3 { return .exception("gp") }
    if let space = change.space { machine.setAddressSpace(space, of: number) }
    var registers = before
    if let cr2 = change.cr2 { registers.cr2 = cr2 }
    if let pat = change.pat { registers.pat = pat }
    if let pkru = change.pkru { registers.pkru = UInt32(truncatingIfNeeded: pkru) }
    if let level = change.privilegeLevel { registers.cpl = level }
    if let isSet = change.alignmentCheck { registers.ac = isSet }
    machine[registersOf: number] = registers
    let outcome: ControlOutcome
    var written: Reference.WrittenRegister?
    if controls > 1 {
      registers.cr0 = change.cr0 ?? before.cr0
      registers.cr3 = change.cr3 ?? before.cr3
      registers.cr4 = change.cr4 ?? before.cr4
      registers.efer = change.efer ?? before.efer
      outcome = machine.replaceControls(number, with: registers)
      written = .everything
    } else if let cr0 = change.cr0 {
      outcome = machine.writeCR0(number, cr0, from: .narrow)
      written = .cr0
    } else if let cr3 = change.cr3 {
      outcome = machine.writeCR3(number, cr3)
      written = .cr3(cr3)
    } else if let cr4 = change.cr4 {
      outcome = machine.writeCR4(number, cr4)
      written = .cr4
    } else if let efer = change.efer {
      outcome = machine.writeEFER(number, efer)
      written = .efer
    } else {
      outcome = .accepted
    }
    guard outcome == .accepted else { return .exception("gp") }
    if let written { reference.wrote(number, written, from: before, in: machine) }
    return .done
  }

  /// Whether each byte of IA32_PAT is a memory type that exists (SDM volume 3A, "IA32_PAT MSR").
  private static func isMemoryTypeTable(_ value: UInt64) -> Bool {
    (0..<8).allSatisfy { [0, 1, 4, 5, 6, 7].contains(value >> (8 * $0) & 0xFF) }
  }

  /// MOV to CR3.
  func loadCR3(_ processor: Int, _ value: UInt64, _ keepsTranslations: Bool) -> StepResult {
    let value = keepsTranslations ? value | 1 << 63 : value
    let before = machine[registersOf: processor]
    guard machine.writeCR3(processor, value) == .accepted else { return .exception("gp") }
    reference.wrote(processor, .cr3(value), from: before, in: machine)
    return .done
  }

  /// Makes a processor forget.
  func invalidate(_ processor: Int, _ what: Invalidation) -> StepResult {
    machine.invalidate(processor, what)
    reference.invalidated(processor, what, in: machine)
    return .done
  }

  /// A processor's hardware forgets everything, as it may at any time.
  func evict(_ processor: Int) -> StepResult {
    if settings.mmu == .direct { return invalidate(processor, .everything) }
    // Shadow tables, in their role of a TLB, keep what they have.
    for place in 0..<machine.translationCapacity(of: processor) {
      machine.evictTranslation(in: place, of: processor)
    }
    return .done
  }

  /// INVPCID (SDM volume 2A, "INVPCID").
  func invalidateContext(
    _ processor: Int, _ type: Int, _ pcid: UInt16, _ address: GuestVirtual
  ) -> StepResult {
    let usesContexts = machine[registersOf: processor].cr4 >> 17 & 1 == 1
    if pcid > 0xFFF { return .exception("gp") }
    if type == 0 && !isCanonical(address, processor) { return .exception("gp") }
    if type < 2 && !usesContexts && pcid != 0 { return .exception("gp") }
    switch type {
    case 0: return invalidate(processor, .linearAddressIn(pcid: pcid, address))
    case 1: return invalidate(processor, .space(pcid: pcid))
    case 2: return invalidate(processor, .allLinear)
    case 3: return invalidate(processor, .allSpaces)
    default: return .exception("gp")
    }
  }
}

extension Stage {
  /// Whether the upper bits of an address repeat the highest that is translated.
  private func isCanonical(_ address: GuestVirtual, _ processor: Int) -> Bool {
    let unused: UInt64 = machine[registersOf: processor].cr4 >> 12 & 1 == 1 ? 7 : 16
    return Int64(bitPattern: address.raw << unused) >> Int64(unused)
      == Int64(bitPattern: address.raw)
  }
}

extension AccessStep.Address {
  /// The address as a number.
  public var raw: UInt64 {
    switch self {
    case .virtual(let address): address.raw
    case .physical(let address): address.raw
    }
  }

  /// The address so many bytes further on; a linear one wraps around.
  func advanced(by count: UInt64) -> Self {
    switch self {
    case .virtual(let address): .virtual(GuestVirtual(address.raw &+ count))
    case .physical(let address): .physical(GuestPhysical(address.raw &+ count))
    }
  }
}
