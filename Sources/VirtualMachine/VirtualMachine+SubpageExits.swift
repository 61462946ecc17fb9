import DirectMMU
public import HardwareModel
import HostMemory
import MachineEvents
import Mutations
public import PageTables
import PagingUnits
import SubpageProtection

/// The exits of processors that sub-page protection has to do with.
extension VirtualMachine {
  /// Loads the root of the sub-page-permission tables beside a processor's root.
  ///
  /// The cache was topped up for both.
  func loadSubpageRoot(_ number: Int) {
    guard subpages.isEnabled else { return }
    // SAFETY: the processor is the caller's own.
    let processor = unsafe processor(number)
    let isShared = Mutation.subpageRootsSharedBetweenSpaces.isActive
    let space = unsafe isShared ? .normal : processor.pointee.space
    let now = direct.generation
    let isEarly = Mutation.subpageRootOfThePast.isActive
    let root = unsafe subpages.root(
      of: space, generation: isEarly ? now : direct.generation, tables,
      &processor.pointee.faultState.cache)
    unsafe processor.pointee.subpageRoot = root
    unsafe processor.pointee.hardware.subpageControls = SubpageControls(
      pointer: tables.arena[root].frame.address.raw)
  }

  /// Gives the root of the sub-page-permission tables back that a processor has, if it has one.
  func putSubpageRoot(_ processor: UnsafeMutablePointer<VirtualProcessor>) {
    // SAFETY: the processor is the caller's own.
    let root = unsafe processor.pointee.subpageRoot
    guard root != .none else { return }
    unsafe processor.pointee.hardware.subpageControls = SubpageControls()
    unsafe processor.pointee.subpageRoot = .none
    subpages.putRoot(root, tables, process.host)
  }

  /// Serves exit 66 (KVM's posted series: `handle_spp`); `nil` means that the access is tried
  /// again.
  func handleSubpageEvent(
    _ qualification: UInt64, _ address: GuestPhysical, _ number: Int
  ) -> AccessOutcome? {
    // SAFETY: the processor is the caller's own.
    let processor = unsafe processor(number)
    unsafe processor.pointee.counters.add(to: .exits)
    let rip = unsafe processor.pointee.instructionPointer
    tables.tap.record(
      .exit(vcpu: UInt32(number), .subpageEvent, rip: rip, info1: qualification, info2: 0))
    // An IRET that lifted the blocking of NMIs did not complete: they are blocked again.
    if qualification >> 12 & 1 == 1 { unsafe processor.pointee.blocksNMI = true }
    guard qualification >> 11 & 1 == 1 else { return .subpageMisconfiguration(address) }
    guard
      unsafe tables.topUp(&processor.pointee.faultState.cache, from: process.host) == .ready
    else { return .failed(.noMemory, address) }
    let fill = unsafe subpages.fill(
      address.frame, in: processor.pointee.subpageRoot, &processor.pointee.faultState.cache,
      tables, slots, process.host)
    let isSeries = subpages.isOn(.rootGoesWithAnyProcessor)
    return fill == .obsolete && isSeries ? .subpageMiss(address) : nil
  }

  /// Settles a write that the processor refused at an armed leaf; `nil` means that the access is
  /// tried again.
  ///
  /// The exit does not tell how many bytes were to be written; whoever made the access does. What
  /// the map permits and the processor refused was judged by permissions that have changed since,
  /// or is not eligible for any: then the hypervisor performs it.
  ///
  /// * `perform`: has the hypervisor perform the access.
  func settleSubpageWrite(
    _ exit: HardwareExit, at frame: HostFrame, _ number: Int, byteCount: UInt64,
    _ perform: () -> AccessOutcome
  ) -> AccessOutcome? {
    guard case .eptViolation(let qualification, let address, let linear) = exit else {
      preconditionFailure("only extended page tables have armed leaves")
    }
    // SAFETY: the processor is the caller's own.
    let space = unsafe processor(number).pointee.space
    let isWalk = qualification >> 7 & 0b11 == 0b01
    if isWalk && !subpages.isOn(.refusesUnasked) { return performed(number, perform) }
    tables.lock.lockShared()
    let judged = Mutation.refusalJudgesFirstByte.isActive ? 1 : byteCount
    let isPermitted = permitsStore(at: address, byteCount: judged, in: space)
    tables.lock.unlockShared()
    // Where a defect switched protection off, nobody judges what is armed.
    let isJudged =
      subpages.isEnabled && !subpages.isOn(.refusesUnasked) && !subpages.isOn(.fillsOnePage)
    if isPermitted && isJudged {
      return linear == nil ? performed(number, perform) : nil
    }
    return .subpageRefused(
      Translation(
        hostPhysical: frame.address + address.pageOffset, guestPhysical: address, level: .page4K,
        usable: [], isGlobal: false))
  }

  /// Performs an access for the guest, outside the look that is under way.
  private func performed(_ number: Int, _ perform: () -> AccessOutcome) -> AccessOutcome {
    tables.quiet.leave(number)
    defer { tables.quiet.enter(number) }
    // SAFETY: the processor is the caller's own.
    unsafe processor(number).pointee.counters.add(to: .insn_emulation)
    return perform()
  }

  /// Whether an IRET of a processor lifted the blocking of NMIs and was then stopped by an exit, so
  /// that NMIs are to be blocked before the guest is entered; asking clears it.
  public func takeNMIBlocking(of number: Int) -> Bool {
    // SAFETY: the processor is the caller's own.
    let blocks = unsafe processor(number).pointee.blocksNMI
    unsafe processor(number).pointee.blocksNMI = false
    return blocks
  }

  /// Says what of the instruction under way an exit of a processor tells.
  public func setInstructionContext(_ context: InstructionContext, of number: Int) {
    // SAFETY: the processor is the caller's own.
    unsafe processor(number).pointee.hardware.instruction = context
  }

  /// The root of the sub-page-permission tables that a processor's hardware walks; `.none` when it
  /// has loaded none.
  public func subpageRoot(of number: Int) -> ShadowPageID {
    // SAFETY: nobody runs the processor of a machine at rest.
    unsafe processor(number).pointee.subpageRoot
  }
}
